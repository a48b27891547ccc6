"""Fusion against PyTorch's nn.TransformerEncoder and nn.TransformerDecoder: outputs and gradients of all parameters.

Tokens are made by nn.Conv1d, nn.Conv2d, nn.Conv3d and nn.Embedding. Cross-attention to a memory of another width is
nn.MultiheadAttention with kdim and vdim. Modalities are masked in part, or missing in some examples.
"""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

HEADS, INNER, LAYERS, CLASSES, WORDS = 4, 24, 2, 5, 9
PATCH, TUBELET, FRAME = 2, 2, 3
SIZES = {"num_classes": CLASSES, "num_layers": LAYERS, "num_heads": HEADS, "mlp_size": INNER}
CUTS = {"patch_size": PATCH, "tubelet_size": TUBELET, "frame_size": FRAME, "vocab_size": WORDS}
MAPS = {  # of a modality to tokens of a width
    "image": lambda width: torch.nn.Conv2d(3, width, PATCH, PATCH),
    "audio": lambda width: torch.nn.Conv1d(4, width, FRAME, FRAME),
    "tokens": lambda width: torch.nn.Embedding(WORDS, width),
    "video": lambda width: torch.nn.Conv3d(2, width, (TUBELET, PATCH, PATCH), (TUBELET, PATCH, PATCH)),
}
RNG = np.random.default_rng(0)
VALUES = {
    "image": RNG.normal(size=(4, 4, 6, 3)).astype(np.float32),
    "audio": RNG.normal(size=(4, 9, 4)).astype(np.float32),
    "tokens": RNG.integers(WORDS, size=(4, 5)).astype(np.int32),
    "video": RNG.normal(size=(4, 4, 4, 4, 2)).astype(np.float32),
}
REAL = {  # steps: the image or none, rows of audio, words, frames of video
    "image": np.array([True, False, True, True]),
    "audio": np.arange(9) < np.array([[9], [4], [0], [3]]),
    "tokens": np.arange(5) < np.array([[5], [2], [1], [0]]),
    "video": np.arange(4) < np.array([[4], [3], [0], [1]]),
}
COUNTS = {"image": [6, 0, 6, 6], "audio": [3, 2, 0, 1], "tokens": [5, 2, 1, 0], "video": [8, 8, 0, 4]}  # real tokens
WIDTHS = {
    "single_stream": {"tokens": 16, "image": 16, "audio": 16, "video": 16},
    "cross_attention": {"image": 16, "audio": 24, "tokens": 24, "video": 24},
    "concat": {"audio": 8, "image": 16, "video": 24, "tokens": 12},
    "late": {"video": 24, "tokens": 12, "image": 16, "audio": 8},
}


def stack(width, memory_width=None):
    """Pre-norm layers and a last norm; with attention to a memory if it has a width."""
    options = {"dropout": 0.0, "activation": "gelu", "norm_first": True, "batch_first": True, "layer_norm_eps": 1e-6}
    norm = torch.nn.LayerNorm(width, eps=1e-6)
    if memory_width is None:
        layer = torch.nn.TransformerEncoderLayer(width, HEADS, INNER, **options)
        return torch.nn.TransformerEncoder(layer, LAYERS, norm, enable_nested_tensor=False)
    layer = torch.nn.TransformerDecoderLayer(width, HEADS, INNER, **options)
    sizes = {"kdim": memory_width, "vdim": memory_width}
    layer.multihead_attn = torch.nn.MultiheadAttention(width, HEADS, **sizes, batch_first=True)
    return torch.nn.TransformerDecoder(layer, LAYERS, norm)


class Peer(torch.nn.Module):
    def __init__(self, fusion):
        super().__init__()
        widths = WIDTHS[fusion]
        width, other, *_ = widths.values()
        self.fusion, self.names = fusion, list(widths)
        stacks = {"all": width} if fusion == "single_stream" else widths
        memory = {self.names[0]: other} if fusion == "cross_attention" else {}
        heads = {"head": sum(widths.values()) if fusion == "concat" else width}
        heads = {f"head_{name}": width for name, width in widths.items()} if fusion == "late" else heads
        shapes = {f"position_{name}": (max(COUNTS[name]), width) for name, width in widths.items()}
        shapes |= {f"class_{name}": (1, 1, width) for name, width in stacks.items()}
        shapes |= {"kinds": (len(widths), width)} if fusion == "single_stream" else {}
        self.maps = torch.nn.ModuleDict({name: MAPS[name](width) for name, width in widths.items()})
        self.stacks = torch.nn.ModuleDict({name: stack(width, memory.get(name)) for name, width in stacks.items()})
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(width, CLASSES) for name, width in heads.items()})
        self.tables = torch.nn.ParameterDict({name: torch.empty(shape) for name, shape in shapes.items()})
        for name, parameter in self.named_parameters():
            is_scale = "norm" in name and name.endswith("weight")
            torch.nn.init.normal_(parameter, 1.0 if is_scale else 0.0, 0.2)

    def embed(self, name):
        """Tokens and which are real; zeros where a patch or frame is masked in part."""
        values, real = VALUES[name], REAL[name]
        x = torch.tensor(values * real.reshape(real.shape + (1,) * (values.ndim - real.ndim)))
        x = self.maps[name](x) if name == "tokens" else self.maps[name](x.movedim(-1, 1)).flatten(2).mT
        return x + self.tables[f"position_{name}"], torch.arange(x.shape[1]) < torch.tensor(COUNTS[name])[:, None]

    def encode(self, name, x, real, *memory):
        """All tokens, the class token first, and which are real."""
        x = torch.cat([self.tables[f"class_{name}"].expand(len(x), 1, -1), x], dim=1)
        real = torch.nn.functional.pad(real, (1, 0), value=True)
        if not memory:
            return self.stacks[name](x, src_key_padding_mask=~real), real
        masks = {"tgt_key_padding_mask": ~real, "memory_key_padding_mask": ~memory[1]}
        return self.stacks[name](x, memory[0], **masks), real

    def forward(self):
        streams = {name: self.embed(name) for name in self.names}
        if self.fusion == "single_stream":
            marked = [(x + kind, real) for (x, real), kind in zip(streams.values(), self.tables["kinds"], strict=True)]
            return self.heads["head"](self.encode("all", *join(marked))[0][:, 0])
        if self.fusion == "cross_attention":
            first, *others = self.names
            memory = join([self.encode(name, *streams[name]) for name in others])
            return self.heads["head"](self.encode(first, *streams[first], *memory)[0][:, 0])
        pooled = {name: self.encode(name, *stream)[0][:, 0] for name, stream in streams.items()}
        if self.fusion == "concat":
            return self.heads["head"](torch.cat(list(pooled.values()), dim=1))
        present = torch.stack([real.any(dim=1) for _, real in streams.values()])
        logits = torch.stack([self.heads[f"head_{name}"](x) for name, x in pooled.items()])
        return torch.einsum("mb,mbc->bc", present / present.sum(dim=0), logits)


def join(streams):
    return [torch.cat(parts, dim=1) for parts in zip(*streams, strict=True)]


def dense(read, layer):
    return {"kernel": read(layer.weight).T, "bias": read(layer.bias)}


def norm_of(read, layer):
    return {"scale": read(layer.weight), "bias": read(layer.bias)}


def attention(read, layer):
    if layer.in_proj_weight is None:
        kernels = [read(weight) for weight in (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)]
    else:
        kernels = np.split(read(layer.in_proj_weight), 3)
    output = dense(read, layer.out_proj)
    params = {"output": {**output, "kernel": output["kernel"].reshape(HEADS, -1, layer.embed_dim)}}
    biases = read(layer.in_proj_bias).reshape(3, HEADS, -1)
    for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
        params[name] = {"kernel": kernel.T.reshape(-1, *bias.shape), "bias": bias}
    return params


def block(read, layer):
    parts = {"attention": "self_attn"}
    parts |= {"cross_attention": "multihead_attn"} if hasattr(layer, "multihead_attn") else {}
    params = {name: attention(read, getattr(layer, part)) for name, part in parts.items()}
    for number, name in enumerate([*parts, "mlp"], 1):
        params[f"{name}_norm"] = norm_of(read, getattr(layer, f"norm{number}"))
    return params | {"mlp": {"inner": dense(read, layer.linear1), "outer": dense(read, layer.linear2)}}


def token_map(read, layer, name):
    """Kernels [O, C, ...] become [..., C, O], frames then counting as channels."""
    weight = read(layer.weight)
    if name == "tokens":
        return {"words": {"embedding": weight}}
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    if name == "video":
        kernel = np.moveaxis(kernel, 0, 2).reshape(PATCH, PATCH, -1, len(weight))
    elif name == "audio":
        kernel = kernel.reshape(-1, len(weight))
    return {"patches" if name in ("image", "video") else "frames": {"kernel": kernel, "bias": read(layer.bias)}}


def from_torch(peer, read):
    params = {name: {"dense": dense(read, layer)} for name, layer in peer.heads.items()}
    for name, layer in peer.maps.items():
        positions = {"positions": {"embedding": read(peer.tables[f"position_{name}"])}}
        params[f"tokenize_{name}"] = {**token_map(read, layer, name), **positions}
    for name, layers in peer.stacks.items():
        params[f"encode_{name}"] = {
            "token": read(peer.tables[f"class_{name}"]),
            "blocks": {f"layer_{number}": block(read, layer) for number, layer in enumerate(layers.layers)},
            "norm": norm_of(read, layers.norm),
        }
    return params | ({"modality_embedding": read(peer.tables["kinds"])} if "kinds" in peer.tables else {})


@pytest.mark.parametrize("fusion", WIDTHS)
def test_equal_to_pytorch(fusion):
    torch.manual_seed(0)
    peer = Peer(fusion)
    expected = peer()
    weights = RNG.normal(size=expected.shape).astype(np.float32)
    (expected * torch.tensor(weights)).sum().backward()

    names, sizes = zip(*WIDTHS[fusion].items(), strict=True)
    fields = {"fusion": fusion, "modalities": names, "hidden_sizes": sizes}
    model = archs.build("fusion", **fields, **SIZES, **CUTS)
    inputs = VALUES | {f"{name}_mask": real for name, real in REAL.items()}
    inputs = {name: jnp.asarray(value) for name, value in inputs.items()}

    def loss(params):
        logits = model.apply({"params": params}, **inputs)
        return (logits * weights).sum(), logits

    params = jax.tree.map(jnp.asarray, from_torch(peer, lambda p: p.detach().numpy()))
    (_, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    def close(actual, expected):
        largest = max(np.abs(expected).max(), 0.01)  # a bias of keys changes nothing: its gradient is rounding
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * largest)

    close(logits, expected.detach().numpy())
    jax.tree.map(close, gradient, from_torch(peer, lambda p: p.grad.numpy()))
