"""VGG, plain and with batch normalisation, against PyTorch's layers: logits, gradients and running statistics."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

FLOAT64 = {"dtype": "float64", "param_dtype": "float64"}
# Instead of 4096, 224 and widths of 64 to 512, to save time; 64 pixels leave maps of 2×2.
UNITS, PIXELS, WIDTHS = 32, 64, (8, 16, 32, 64, 64)
STAGES = {"11": (1, 1, 2, 2, 2), "16": (2, 2, 3, 3, 3)}


def build_peer(stages, batch_norm):
    nn = torch.nn
    layers, channels = [], 3
    for size, features in zip(stages, WIDTHS, strict=True):
        for _ in range(size):
            layers.append(nn.Conv2d(channels, features, 3, padding=1))
            layers += [nn.BatchNorm2d(features)] * batch_norm + [nn.ReLU()]
            channels = features
        layers.append(nn.MaxPool2d(2))
    dense = [nn.Flatten(), nn.Linear(channels * 4, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU()]
    return nn.Sequential(*layers, *dense, nn.Linear(UNITS, 10))


def names(stages) -> list[str]:
    """Of our layers with weights, in the order of the peer's."""
    convolutions = [f"conv_{stage}_{layer}" for stage, size in enumerate(stages) for layer in range(size)]
    return convolutions + ["dense_0", "dense_1", "head"]


def from_torch(stages, peer, read) -> dict:
    """Kernels [O, I, X, Y] become [X, Y, I, O]; the first dense layer reads [C, X, Y] there, [X, Y, C] here."""
    params = {}
    weighted = [layer for layer in peer if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    for name, layer in zip(names(stages), weighted, strict=True):
        kernel, bias = read(layer.weight), read(layer.bias)
        if kernel.ndim == 4:
            kernel = kernel.transpose(2, 3, 1, 0)
        elif name == "dense_0":
            kernel = kernel.reshape(UNITS, -1, 2, 2).transpose(2, 3, 1, 0).reshape(-1, UNITS)
        else:
            kernel = kernel.T
        params[name] = {"kernel": kernel, "bias": bias}
    params["head"] = {"dense": params["head"]}
    norms = [layer for layer in peer if isinstance(layer, torch.nn.BatchNorm2d)]
    for name, norm in zip(names(stages), norms, strict=False):
        params[name] = {"conv": params[name], "norm": {"scale": read(norm.weight), "bias": read(norm.bias)}}
    return params


@pytest.fixture(autouse=True)
def _float64():
    """Among so many units, rounding to float32 rectifies some the other way, or moves some maximum."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("variant, normalization", [("11", "none"), ("16", "none"), ("11", "batch")])
def test_equal_to_pytorch(variant, normalization):
    """With batch normalisation in training mode, so dropout is off."""
    stages, batch_norm = STAGES[variant], normalization == "batch"
    torch.manual_seed(0)
    peer = build_peer(stages, batch_norm).double()
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, PIXELS, PIXELS, 3))
    weights = rng.normal(size=(2, 10))
    x = torch.tensor(image.transpose(0, 3, 1, 2), requires_grad=True)
    sizes = []  # values per channel that each normalisation saw
    norms = [layer for layer in peer if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(lambda norm, inputs, _: sizes.append(inputs[0].numel() / norm.num_features))
    params = from_torch(stages, peer, lambda p: p.detach().numpy())
    peer_logits = peer(x)
    (peer_logits * torch.tensor(weights)).sum().backward()

    model = archs.build(
        "vgg",
        variant=variant,
        num_classes=10,
        hidden_sizes=WIDTHS,
        mlp_size=UNITS,
        normalization=normalization,
        dropout_rate=0.0,
        **FLOAT64,
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(image))
    statistics = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "var")), shapes.get("batch_stats", {})
    )

    def loss(params, image):
        apply = functools.partial(model.apply, train=batch_norm, mutable=["batch_stats"])
        logits, updated = apply({"params": params, "batch_stats": statistics}, image)
        return (logits * weights).sum(), (logits, updated)

    (_, (logits, updated)), (gradient, image_gradient) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    )(params, jnp.asarray(image))

    def close(actual, expected):
        # A bias that batch statistics take away again has no gradient but rounding: hence 1e-10.
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max() + 1e-10)

    close(logits, peer_logits.detach().numpy())
    close(image_gradient, x.grad.numpy().transpose(0, 2, 3, 1))
    jax.tree.map(close, gradient, from_torch(stages, peer, lambda p: p.grad.numpy()))
    for name, norm, size in zip(names(stages), norms, sizes, strict=False):
        ours = updated["batch_stats"][name]["norm"]
        close(ours["mean"], norm.running_mean.numpy())
        # PyTorch's new share of the variance is the unbiased one, Flax's the one that normalised.
        close(ours["var"], 0.9 + (norm.running_var.numpy() - 0.9) * (size - 1) / size)
