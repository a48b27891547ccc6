"""TCN against the same blocks written in PyTorch with its weight normalisation: outputs and gradients."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

FLOAT64 = {"dtype": "float64", "param_dtype": "float64"}
NAMES = {"bias": "bias", "weight": "kernel", "original0": "scale", "original1": "kernel"}


class CausalConv(torch.nn.Module):
    def __init__(self, channels, features, kernel_size, dilation):
        super().__init__()
        conv = torch.nn.Conv1d(channels, features, kernel_size, dilation=dilation)
        self.conv = torch.nn.utils.parametrizations.weight_norm(conv)
        self.past = (kernel_size - 1) * dilation

    def forward(self, x):
        return self.conv(torch.nn.functional.pad(x, (self.past, 0)))


class Block(torch.nn.Module):
    def __init__(self, channels, features, kernel_size, dilation):
        super().__init__()
        self.conv_0 = CausalConv(channels, features, kernel_size, dilation)
        self.conv_1 = CausalConv(features, features, kernel_size, dilation)
        self.residual = torch.nn.Conv1d(channels, features, 1) if channels != features else torch.nn.Identity()

    def forward(self, x):
        y = torch.relu(self.conv_1(torch.relu(self.conv_0(x))))
        return torch.relu(y + self.residual(x))


class Peer(torch.nn.Module):
    def __init__(self, channels, features, num_layers, kernel_size, num_classes):
        super().__init__()
        self.blocks = torch.nn.Sequential()
        for layer in range(num_layers):
            self.blocks.append(Block(features if layer else channels, features, kernel_size, 2**layer))
        self.head = torch.nn.Linear(features, num_classes)

    def forward(self, x):
        return self.head(self.blocks(x).transpose(1, 2))


def from_torch(tensors: dict[str, np.ndarray]) -> dict:
    """Kernels [O, I, T] become [T, I, O]; gains [O, 1, 1] become [O]."""
    params = {}
    for path, tensor in tensors.items():
        *modules, kind = path.split(".")
        if modules[0] == "blocks":
            module = params.setdefault(f"block_{modules[1]}", {}).setdefault(modules[2], {})
        else:
            module = params.setdefault("head", {}).setdefault("dense", {})
        if kind == "original0" or tensor.ndim == 1:
            tensor = tensor.reshape(-1)
        elif "residual" in modules:
            tensor = tensor[:, :, 0].T
        else:
            tensor = tensor.T
        module[NAMES[kind]] = tensor
    return params


@pytest.fixture(autouse=True)
def _float64():
    """Among so many units, rounding to float32 rectifies some the other way, or moves some maximum."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("variant, channels", [("adding", 2), ("mnist", 1), ("copy_memory", 1), ("copy_memory", 10)])
def test_equal_to_pytorch(variant, channels):
    model = archs.build("tcn", variant=variant, num_classes=10, **FLOAT64)
    torch.manual_seed(0)
    peer = Peer(channels, model.hidden_size, model.num_layers, model.kernel_size, num_classes=10).double()
    with torch.no_grad():
        for path, parameter in peer.named_parameters():
            if path.endswith("original0"):  # starts as the length of the direction; without it nothing is tested
                parameter.mul_(0.5 + torch.rand_like(parameter))
    rng = np.random.default_rng(0)
    sequence = rng.normal(size=(2, 300, channels))
    x = torch.tensor(sequence.transpose(0, 2, 1), requires_grad=True)
    peer_outputs = peer(x) if model.outputs == "all" else peer(x)[:, -1]
    weights = rng.normal(size=peer_outputs.shape)
    (peer_outputs * torch.tensor(weights)).sum().backward()

    params = from_torch({path: p.detach().numpy() for path, p in peer.named_parameters()})

    def loss(params, sequence):
        outputs = model.apply({"params": params}, sequence)
        return (outputs * weights).sum(), outputs

    (_, outputs), (gradient, input_gradient) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        params, jnp.asarray(sequence)
    )

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())

    close(outputs, peer_outputs.detach().numpy())
    close(input_gradient, x.grad.numpy().transpose(0, 2, 1))
    jax.tree.map(close, gradient, from_torch({path: p.grad.numpy() for path, p in peer.named_parameters()}))
