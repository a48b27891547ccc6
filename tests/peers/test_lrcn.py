"""LRCN against the same layers of PyTorch: logits and all gradients."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

FRAMES, SIZE, CHANNELS, WIDTHS, FRAME_SIZE, HIDDEN = 5, 12, 2, (4, 6), 7, 8
CELLS = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


class Peer(torch.nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.conv_0 = torch.nn.Conv2d(CHANNELS, WIDTHS[0], 3, padding=1)
        self.conv_1 = torch.nn.Conv2d(WIDTHS[0], WIDTHS[1], 3, padding=1)
        self.dense = torch.nn.Linear(WIDTHS[1] * (SIZE // 4) ** 2, FRAME_SIZE)
        self.recurrence = CELLS[cell](FRAME_SIZE, HIDDEN, batch_first=True)
        self.head = torch.nn.Linear(HIDDEN, 3)

    def forward(self, video, outputs):
        x = video.flatten(0, 1).permute(0, 3, 1, 2)
        for conv in (self.conv_0, self.conv_1):
            x = torch.nn.functional.max_pool2d(torch.relu(conv(x)), 2)
        x = torch.relu(self.dense(x.permute(0, 2, 3, 1).flatten(1)))  # places first, channels last, as ours
        x, _ = self.recurrence(x.reshape(len(video), FRAMES, -1))
        return self.head(x[:, -1] if outputs == "last" else x.mean(dim=1))


def from_torch(tensors: dict[str, np.ndarray]) -> dict:
    """Kernels [O, I, X, Y] become [X, Y, I, O], and gates in rows [G·H, D] become [D, G, H].

    PyTorch's second bias of each gate is left out; it must be zero.
    """
    params: dict = {"frames": {}, "stack": {"forward_0": {}}, "head": {"dense": {}}}
    for path, tensor in tensors.items():
        module, kind = path.split(".")
        if module == "recurrence":
            gates = tensor.reshape(-1, HIDDEN, *tensor.shape[1:])
            names = {"weight_ih_l0": "input_kernel", "weight_hh_l0": "hidden_kernel", "bias_ih_l0": "bias"}
            if kind in names:
                params["stack"]["forward_0"][names[kind]] = np.moveaxis(gates, -1, 0) if tensor.ndim == 2 else gates
            continue
        place = params["head"]["dense"] if module == "head" else params["frames"].setdefault(module, {})
        axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[tensor.ndim]
        place["kernel" if kind == "weight" else "bias"] = tensor.transpose(axes)
    return params


@pytest.fixture(autouse=True)
def _float64():
    """Rounding to float32 rectifies some units the other way, or moves some maximum."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("outputs", ["last", "mean"])
@pytest.mark.parametrize("cell", CELLS)
def test_equal_to_pytorch(cell, outputs):
    torch.manual_seed(0)
    peer = Peer(cell).double()
    with torch.no_grad():
        peer.recurrence.bias_hh_l0.zero_()
    rng = np.random.default_rng(0)
    video = rng.normal(size=(2, FRAMES, SIZE, SIZE, CHANNELS))
    weights = rng.normal(size=(2, 3))
    x = torch.tensor(video, requires_grad=True)
    peer_logits = peer(x, outputs)
    (peer_logits * torch.tensor(weights)).sum().backward()

    fields = {"hidden_sizes": WIDTHS, "frame_size": FRAME_SIZE, "hidden_size": HIDDEN, "cell": cell, "outputs": outputs}
    model = archs.build("lrcn", num_classes=3, **fields, dtype="float64", param_dtype="float64")
    params = from_torch({path: p.detach().numpy() for path, p in peer.named_parameters()})

    def loss(params, video):
        logits = model.apply({"params": params}, video)
        return (logits * weights).sum(), logits

    (_, logits), (gradient, video_gradient) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        params, jnp.asarray(video)
    )

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())

    close(logits, peer_logits.detach().numpy())
    close(video_gradient, x.grad.numpy())
    jax.tree.map(close, gradient, from_torch({path: p.grad.numpy() for path, p in peer.named_parameters()}))
