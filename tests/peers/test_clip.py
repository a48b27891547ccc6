"""CLIP against transformers', and its ResNet against the published structure written in PyTorch."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import numpy as jnp

import archs
from archs import clip
from archs.layers.stack import stack_layers
from tests.peers.comparison import compare

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
transformers = pytest.importorskip("transformers", reason="transformers is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

BLOCK = {
    "layer_norm1": ("attention_norm",),
    "layer_norm2": ("mlp_norm",),
    "self_attn.q_proj": ("attention", "query"),
    "self_attn.k_proj": ("attention", "key"),
    "self_attn.v_proj": ("attention", "value"),
    "self_attn.out_proj": ("attention", "output"),
    "mlp.fc1": ("mlp", "inner"),
    "mlp.fc2": ("mlp", "outer"),
}
PLACES = {
    "logit_scale": ("log_scale",),
    "text_model.embeddings.token_embedding.weight": ("text_embedding", "embedding"),
    "text_model.embeddings.position_embedding.weight": ("text_positions", "embedding"),
    "text_model.final_layer_norm": ("text_norm",),
    "text_projection": ("text_projection",),
    "vision_model.embeddings.class_embedding": ("image", "token"),
    "vision_model.embeddings.patch_embedding": ("image", "patches"),
    "vision_model.embeddings.position_embedding.weight": ("image", "positions", "embedding"),
    "vision_model.pre_layrnorm": ("image", "embedding_norm"),
    "vision_model.post_layernorm": ("image", "norm"),
    "visual_projection": ("image_projection",),
}
STACKS = {"text_model": ("text_blocks",), "vision_model": ("image", "blocks")}


def place(name: str) -> tuple[str, ...]:
    """text_model.encoder.layers.1.mlp.fc1.weight: text blocks, layer 1, inner kernel."""
    if name in PLACES:
        return PLACES[name]
    module, _, leaf = name.rpartition(".")
    if module in PLACES:
        path = PLACES[module]
    else:
        tower, _, _, layer, part = module.split(".", 4)
        path = (*STACKS[tower], f"layer_{layer}", *BLOCK[part])
    weight = "scale" if "norm" in path[-1] else "kernel"
    return (*path, {"weight": weight, "bias": "bias"}[leaf])


def from_transformers(tensors, shapes) -> dict:
    """Nested as ours: kernels [O, I, X, Y] become [X, Y, I, O], and [O, I] become [I, O], with heads of their own."""
    shapes = flatten_dict(shapes)
    values = {place(name): tensor for name, tensor in tensors.items()}
    assert set(values) == set(shapes)
    for path, value in values.items():
        if path[-1] == "kernel":
            value = value.transpose((2, 3, 1, 0) if value.ndim == 4 else (1, 0))
        values[path] = value.reshape(shapes[path].shape)
    return unflatten_dict(values)


def build_peer(end_token):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2 if end_token is None else end_token}
    config = transformers.CLIPConfig(
        text_config={**sizes, **special, "vocab_size": 30, "max_position_embeddings": 7},
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        projection_dim=12,
        initializer_factor=5.0,
    )
    torch.manual_seed(0)
    peer = transformers.CLIPModel(config).eval()
    with torch.no_grad():  # away from where they start: ones and zeros hide mistakes
        for parameter in peer.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    return peer


@pytest.mark.parametrize("end_token, scan_layers", [(None, False), (25, True)])
def test_equal_to_transformers(end_token, scan_layers):
    peer = build_peer(end_token)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 16, 16, 3)).astype(np.float32)
    tokens = np.array([[0, 4, 5, 25, 1, 1, 1], [0, 6, 7, 8, 9, 5, 25], [0, 25, 1, 1, 1, 1, 1]], np.int32)
    mask = tokens != 1
    weights = [rng.normal(size=shape).astype(np.float32) for shape in [(3, 3), (3, 12), (3, 12)]]
    x = torch.tensor(image.transpose(0, 3, 1, 2), requires_grad=True)
    output = peer(input_ids=torch.tensor(tokens).long(), attention_mask=torch.tensor(mask).long(), pixel_values=x)
    expected = [output.logits_per_image, output.image_embeds, output.text_embeds]
    sum((value * torch.tensor(w)).sum() for value, w in zip(expected, weights, strict=True)).backward()

    fields = {
        "vocab_size": 30,
        "max_length": 7,
        "end_token": end_token,
        "embedding_size": 12,
        "image_hidden_size": 16,
        "patch_size": 8,
        "num_image_layers": 2,
        "text_hidden_size": 16,
        "num_text_layers": 2,
        "head_size": 8,
    }
    looped = archs.build("clip", **fields)
    model = archs.build("clip", **fields, scan_layers=scan_layers)
    image, tokens, mask = jnp.asarray(image), jnp.asarray(tokens), jnp.asarray(mask)
    shapes = jax.eval_shape(looped.init, jax.random.key(0), image, tokens)["params"]

    def stacked(params):
        if not scan_layers:
            return params
        image = {**params["image"], "blocks": stack_layers(params["image"]["blocks"])}
        return {**params, "image": image, "text_blocks": stack_layers(params["text_blocks"])}

    def loss(params, image):
        variables = {"params": params}
        outputs = [
            model.apply(variables, image, tokens, mask),
            model.apply(variables, image, method="encode_image"),
            model.apply(variables, tokens, mask, method="encode_text"),
        ]
        return sum((value * w).sum() for value, w in zip(outputs, weights, strict=True)), outputs

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    tensors = {name: parameter.detach().numpy() for name, parameter in peer.named_parameters()}
    (_, outputs), (gradient, image_gradient) = run(stacked(from_transformers(tensors, shapes)), image)

    def close(actual, expected):
        largest = max(np.abs(expected).max(), 0.01)  # a bias of keys changes nothing: its gradient is rounding
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * largest)

    for actual, value in zip(outputs, expected, strict=True):
        close(actual, value.detach().numpy())
    close(image_gradient, x.grad.numpy().transpose(0, 2, 3, 1))
    gradients = {name: parameter.grad.numpy() for name, parameter in peer.named_parameters()}
    jax.tree.map(close, gradient, stacked(from_transformers(gradients, shapes)))


STAGES, CHANNELS, HEADS, FEATURES, SIDE = (2, 1, 1), 8, 4, 10, 48


def norm_convolution(inputs, outputs, size, stride=1):
    nn = torch.nn
    layers = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)
    return nn.ModuleDict({"conv": layers[0], "norm": layers[1]})


def apply_norm_convolution(layer, x):
    return layer["norm"](layer["conv"](x))


class PeerBlock(torch.nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.stride = stride
        self.conv_0 = norm_convolution(inputs, width, 1)
        self.conv_1 = norm_convolution(width, width, 3)
        self.conv_2 = norm_convolution(width, 4 * width, 1)
        self.shortcut = norm_convolution(inputs, 4 * width, 1) if stride > 1 or inputs != 4 * width else None

    def forward(self, x):
        functional = torch.nn.functional
        y = torch.relu(apply_norm_convolution(self.conv_0, x))
        y = torch.relu(apply_norm_convolution(self.conv_1, y))
        if self.stride > 1:
            y = functional.avg_pool2d(y, self.stride)
        y = apply_norm_convolution(self.conv_2, y)
        if self.shortcut is not None:
            x = functional.avg_pool2d(x, self.stride) if self.stride > 1 else x
            x = apply_norm_convolution(self.shortcut, x)
        return torch.relu(x + y)


class PeerPool(torch.nn.Module):
    def __init__(self, places, width):
        super().__init__()
        self.positions = torch.nn.Parameter(torch.randn(width, places + 1))  # turned by `from_torch` as a kernel is
        self.query, self.key, self.value = (torch.nn.Linear(width, width) for _ in range(3))
        self.output = torch.nn.Linear(width, FEATURES)
        self.key.bias.register_hook(torch.zeros_like)  # it changes nothing: its gradient is rounding

    def forward(self, x):
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positions.T[:, None]
        projections = self.query, self.key, self.value
        mixed, _ = torch.nn.functional.multi_head_attention_forward(
            query=x[:1],
            key=x,
            value=x,
            embed_dim_to_check=x.shape[-1],
            num_heads=HEADS,
            in_proj_weight=None,
            in_proj_bias=torch.cat([layer.bias for layer in projections]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.output.weight,
            out_proj_bias=self.output.bias,
            use_separate_proj_weight=True,
            q_proj_weight=self.query.weight,
            k_proj_weight=self.key.weight,
            v_proj_weight=self.value.weight,
        )
        return mixed[0]


class PeerResNet(torch.nn.Module):
    """The structure of OpenAI's release; modules are named as ours."""

    def __init__(self):
        super().__init__()
        half = CHANNELS // 2
        self.stem_0 = norm_convolution(3, half, 3, stride=2)
        self.stem_1 = norm_convolution(half, half, 3)
        self.stem_2 = norm_convolution(half, CHANNELS, 3)
        self.blocks = []
        width = CHANNELS
        for stage, count in enumerate(STAGES):
            for number in range(count):
                name, size = f"stage_{stage}_block_{number}", CHANNELS * 2**stage
                self.add_module(name, PeerBlock(width, size, 2 if stage and not number else 1))
                self.blocks.append(name)
                width = 4 * size
        self.attention = PeerPool((SIDE // 4 // 2 ** (len(STAGES) - 1)) ** 2, width)

    def forward(self, x):
        for layer in (self.stem_0, self.stem_1, self.stem_2):
            x = torch.relu(apply_norm_convolution(layer, x))
        x = torch.nn.functional.avg_pool2d(x, 2)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.attention(x)


LEAVES = {
    "norm.weight": ("params", "norm", "scale"),
    "norm.bias": ("params", "norm", "bias"),
    "norm.running_mean": ("batch_stats", "norm", "mean"),
    "norm.running_var": ("batch_stats", "norm", "var"),
}


def place_in_resnet(name: str) -> tuple[str, ...]:
    *path, parent, leaf = name.split(".")
    if f"{parent}.{leaf}" in LEAVES:
        collection, *own = LEAVES[f"{parent}.{leaf}"]
        return (collection, *path, *own)
    own = {"weight": ("kernel",), "bias": ("bias",), "positions": ("positions", "embedding")}[leaf]
    return ("params", *path, parent, *own)


class Unshaped:
    """Our model, its variables shaped as the peer's, heads joined; the bias of keys has no gradient."""

    def __init__(self, model, image):
        self.model = model
        self.shapes = jax.eval_shape(model.init, jax.random.key(0), image)

    def apply(self, variables, *args, **kwargs):
        shaped = jax.tree.map(lambda leaf, own: leaf.reshape(own.shape), variables, self.shapes)
        key = shaped["params"]["attention"]["key"]
        key["bias"] = jax.lax.stop_gradient(key["bias"])
        return self.model.apply(shaped, *args, **kwargs)


@pytest.mark.parametrize("train", [False, True])
def test_modified_resnet_equals_the_published_structure(train):
    torch.manual_seed(0)
    peer = PeerResNet()
    width = 4 * CHANNELS * 2 ** (len(STAGES) - 1)
    image = np.random.default_rng(0).normal(size=(3, SIDE, SIDE, 3))
    with jax.enable_x64(True):
        model = clip.ModifiedResNet(FEATURES, STAGES, CHANNELS, width // HEADS, dtype="float64", param_dtype="float64")
        unshaped = Unshaped(model, jnp.asarray(image))
        compare(peer, lambda peer, x: [peer(x)], unshaped, place_in_resnet, image, train)
