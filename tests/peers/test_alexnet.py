"""AlexNet, both columns and one, against the same layers written in PyTorch: logits and gradients."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

FLOAT64 = {"dtype": "float64", "param_dtype": "float64"}
UNITS = 32  # instead of 4096, and a quarter of the maps, to save time
SINGLE_COLUMN = {"sizes": (16, 48, 96, 64, 64), "groups": 1, "normalization": torch.nn.Identity}
# PyTorch divides alpha by the number of maps in the sum, the paper does not.
TWO_COLUMNS = {
    "sizes": (24, 64, 96, 96, 64),
    "groups": 2,
    "normalization": lambda: torch.nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2),
}


def build_peer(sizes, groups, normalization):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, sizes[0], 11, stride=4, padding=2),
        nn.ReLU(),
        normalization(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(sizes[0], sizes[1], 5, padding=2, groups=groups),
        nn.ReLU(),
        normalization(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(sizes[1], sizes[2], 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(sizes[2], sizes[3], 3, padding=1, groups=groups),
        nn.ReLU(),
        nn.Conv2d(sizes[3], sizes[4], 3, padding=1, groups=groups),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Flatten(),
        nn.Linear(sizes[4] * 6 * 6, UNITS),
        nn.ReLU(),
        nn.Linear(UNITS, UNITS),
        nn.ReLU(),
        nn.Linear(UNITS, 10),
    )


def from_torch(peer, read) -> dict:
    """Kernels [O, I, X, Y] become [X, Y, I, O]; the first dense layer reads [C, X, Y] there, [X, Y, C] here."""
    params = {}
    names = [f"conv_{number}" for number in range(1, 6)] + ["dense_6", "dense_7", "head"]
    layers = [layer for layer in peer if hasattr(layer, "weight")]
    for name, layer in zip(names, layers, strict=True):
        kernel, bias = read(layer.weight), read(layer.bias)
        if kernel.ndim == 4:
            kernel = kernel.transpose(2, 3, 1, 0)
        elif name == "dense_6":
            kernel = kernel.reshape(UNITS, -1, 6, 6).transpose(2, 3, 1, 0).reshape(-1, UNITS)
        else:
            kernel = kernel.T
        params[name] = {"kernel": kernel, "bias": bias}
    return {**params, "head": {"dense": params["head"]}}


@pytest.fixture(autouse=True)
def _float64():
    """Among so many units, rounding to float32 rectifies some the other way, or moves some maximum."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("variant, options", [("torchvision", SINGLE_COLUMN), ("2012", TWO_COLUMNS)])
def test_equal_to_pytorch(variant, options):
    torch.manual_seed(0)
    peer = build_peer(**options).double()
    rng = np.random.default_rng(0)
    image = 100 * rng.normal(size=(2, 224, 224, 3))  # so large that maps do inhibit each other
    weights = rng.normal(size=(2, 10))
    x = torch.tensor(image.transpose(0, 3, 1, 2), requires_grad=True)
    peer_logits = peer(x)
    (peer_logits * torch.tensor(weights)).sum().backward()

    model = archs.build(
        "alexnet", variant=variant, num_classes=10, hidden_sizes=options["sizes"], mlp_size=UNITS, **FLOAT64
    )
    params = from_torch(peer, lambda p: p.detach().numpy())

    def loss(params, image):
        logits = model.apply({"params": params}, image)
        return (logits * weights).sum(), logits

    (_, logits), (gradient, image_gradient) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        params, jnp.asarray(image)
    )

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())

    close(logits, peer_logits.detach().numpy())
    close(image_gradient, x.grad.numpy().transpose(0, 2, 3, 1))
    jax.tree.map(close, gradient, from_torch(peer, lambda p: p.grad.numpy()))
