"""LeNet-5 against the same layers written in PyTorch: logits and gradients."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

LAYERS = {"c1": 0, "c3": 3, "c5": 7, "f6": 9, "head": 11}  # places in the peer


def build_peer(pooling, activation):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        activation(),
        pooling(2),
        nn.Conv2d(6, 16, 5),
        activation(),
        pooling(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        activation(),
        nn.Linear(120, 84),
        activation(),
        nn.Linear(84, 10),
    )


def from_torch(peer, read) -> dict:
    """Kernels [O, I, X, Y] become [X, Y, I, O]; C5 reads [C, X, Y] there, [X, Y, C] here."""
    params = {}
    for name, place in LAYERS.items():
        kernel, bias = read(peer[place].weight), read(peer[place].bias)
        if kernel.ndim == 4:
            kernel = kernel.transpose(2, 3, 1, 0)
        elif name == "c5":
            kernel = kernel.reshape(120, 16, 5, 5).transpose(2, 3, 1, 0).reshape(400, 120)
        else:
            kernel = kernel.T
        params[name] = {"kernel": kernel, "bias": bias}
    return {**params, "head": {"dense": params["head"]}}


@pytest.mark.parametrize("pooling, activation", [("max", "relu"), ("average", "tanh")])
def test_equal_to_pytorch(pooling, activation):
    torch.manual_seed(0)
    peer = build_peer(
        {"max": torch.nn.MaxPool2d, "average": torch.nn.AvgPool2d}[pooling],
        {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[activation],
    )
    rng = np.random.default_rng(0)
    image = rng.normal(size=(4, 28, 28, 1)).astype(np.float32)
    weights = rng.normal(size=(4, 10)).astype(np.float32)
    x = torch.tensor(image.transpose(0, 3, 1, 2), requires_grad=True)
    peer_logits = peer(x)
    (peer_logits * torch.tensor(weights)).sum().backward()

    model = archs.build("lenet", num_classes=10, pooling=pooling, activation=activation)
    params = from_torch(peer, lambda p: p.detach().numpy())
    image = jnp.asarray(image)

    def loss(params, image):
        logits = model.apply({"params": params}, image)
        return (logits * weights).sum(), logits

    (_, logits), (gradient, image_gradient) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        params, image
    )

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    close(logits, peer_logits.detach().numpy())
    close(image_gradient, x.grad.numpy().transpose(0, 2, 3, 1))
    jax.tree.map(close, gradient, from_torch(peer, lambda p: p.grad.numpy()))
