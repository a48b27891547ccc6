"""Vision Transformer against transformers': logits and gradients, looped and scanned."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import numpy as jnp

import archs
from archs.layers.stack import stack_layers

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
transformers = pytest.importorskip("transformers", reason="transformers is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

BLOCK = {
    "layernorm_before": ("attention_norm",),
    "layernorm_after": ("mlp_norm",),
    "attention.q_proj": ("attention", "query"),
    "attention.k_proj": ("attention", "key"),
    "attention.v_proj": ("attention", "value"),
    "attention.o_proj": ("attention", "output"),
    "mlp.fc1": ("mlp", "inner"),
    "mlp.fc2": ("mlp", "outer"),
}
PLACES = {
    "vit.embeddings.cls_token": ("token",),
    "vit.embeddings.position_embeddings": ("positions", "embedding"),
    "vit.embeddings.patch_embeddings.projection": ("patches",),
    "vit.layernorm": ("norm",),
    "classifier": ("head", "dense"),
}


def place(name: str) -> tuple[str, ...]:
    """vit.layers.1.attention.q_proj.weight: layer 1, attention, query, kernel."""
    if name in PLACES:
        return PLACES[name]
    module, _, leaf = name.rpartition(".")
    if module in PLACES:
        path = PLACES[module]
    else:
        _, _, layer, part = module.split(".", 3)
        path = ("blocks", f"layer_{layer}", *BLOCK[part])
    weight = "scale" if "norm" in path[-1] else "kernel"
    return (*path, {"weight": weight, "bias": "bias"}[leaf])


def from_torch(tensors, shapes) -> dict:
    """Nested as ours: kernels [O, I, X, Y] become [X, Y, I, O], and [O, I] become [I, O], with heads of their own."""
    axes = {4: (2, 3, 1, 0), 3: (0, 1, 2), 2: (1, 0), 1: (0,)}
    values = {place(name): tensor.transpose(axes[tensor.ndim]) for name, tensor in tensors.items()}
    shapes = flatten_dict(shapes)
    assert set(values) == set(shapes)
    return unflatten_dict({path: value.reshape(shapes[path].shape) for path, value in values.items()})


@pytest.mark.parametrize("scan_layers", [False, True])
def test_equal_to_transformers(scan_layers):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "patch_size": 8}
    config = transformers.ViTConfig(
        **sizes,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        image_size=16,
        layer_norm_eps=1e-6,
        initializer_range=0.2,
        num_labels=5,
    )
    peer = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():  # away from where they start: ones and zeros hide mistakes
        for parameter in peer.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 16, 16, 3)).astype(np.float32)
    weights = rng.normal(size=(3, 5)).astype(np.float32)
    x = torch.tensor(image.transpose(0, 3, 1, 2), requires_grad=True)
    peer_logits = peer(x).logits
    (peer_logits * torch.tensor(weights)).sum().backward()

    fields = {**sizes, "num_layers": 2, "num_heads": 4, "mlp_size": 24, "num_classes": 5}
    looped = archs.build("vit", **fields)
    model = archs.build("vit", **fields, scan_layers=scan_layers)
    image = jnp.asarray(image)
    shapes = jax.eval_shape(looped.init, jax.random.key(0), image)["params"]

    def stacked(params):
        return {**params, "blocks": stack_layers(params["blocks"])} if scan_layers else params

    def loss(params, image):
        logits = model.apply({"params": params}, image)
        return (logits * weights).sum(), logits

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    tensors = {name: parameter.detach().numpy() for name, parameter in peer.named_parameters()}
    (_, logits), (gradient, image_gradient) = run(stacked(from_torch(tensors, shapes)), image)

    def close(actual, expected):
        largest = max(np.abs(expected).max(), 0.01)  # a bias of keys changes nothing: its gradient is rounding
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * largest)

    close(logits, peer_logits.detach().numpy())
    close(image_gradient, x.grad.numpy().transpose(0, 2, 3, 1))
    gradients = {name: parameter.grad.numpy() for name, parameter in peer.named_parameters()}
    jax.tree.map(close, gradient, stacked(from_torch(gradients, shapes)))
