"""M5 and M34-res against the same layers written in PyTorch: logits, gradients and running statistics."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

FLOAT64 = {"dtype": "float64", "param_dtype": "float64"}
STAGES = {  # of Table 1: channels and convolutions, or residual blocks of two
    "M5": [(128, 1), (256, 1), (512, 1)],
    "M34-res": [(48, 3), (96, 4), (192, 6), (384, 3)],
}
NAMES = {"running_mean": "mean", "running_var": "var"}


class Layer(torch.nn.Module):
    def __init__(self, channels, features, kernel_size=3, stride=1):
        super().__init__()
        self.padding = (kernel_size - 1) // 2, kernel_size // 2
        self.conv = torch.nn.Conv1d(channels, features, kernel_size, stride=stride)
        self.norm = torch.nn.BatchNorm1d(features)

    def forward(self, x):
        return self.norm(self.conv(torch.nn.functional.pad(x, self.padding)))


class ResidualBlock(torch.nn.Module):
    def __init__(self, channels, features):
        super().__init__()
        self.layer_0 = Layer(channels, features)
        self.layer_1 = Layer(features, features)
        self.norm = torch.nn.BatchNorm1d(features)

    def forward(self, x):
        y = self.layer_1(torch.relu(self.layer_0(x)))
        return self.norm(y + x.repeat(1, y.shape[1] // x.shape[1], 1))


class Peer(torch.nn.Module):
    def __init__(self, stages, block):
        super().__init__()
        channels = stages[0][0]
        self.stages = stages
        self.first = Layer(1, channels, kernel_size=80, stride=4)
        for stage, (features, size) in enumerate(stages):
            for layer in range(size):
                self.add_module(f"stage_{stage}_{layer}", block(channels, features))
                channels = features
        self.head = torch.nn.Linear(channels, 10)

    def forward(self, x):
        pool = functools.partial(torch.nn.functional.max_pool1d, kernel_size=4, ceil_mode=True)
        x = pool(torch.relu(self.first(x)))
        for stage, (_, size) in enumerate(self.stages):
            for layer in range(size):
                x = torch.relu(self.get_submodule(f"stage_{stage}_{layer}")(x))
            x = pool(x) if stage < 3 else x
        return self.head(x.mean(dim=2))


def from_torch(tensors: dict[str, np.ndarray]) -> dict:
    """Modules have the same names; kernels [O, I, T] become [T, I, O]."""
    tree = {}
    for path, tensor in tensors.items():
        *modules, kind = path.replace("head", "head.dense").split(".")
        if kind == "weight":
            kind = "scale" if tensor.ndim == 1 else "kernel"
        branch = functools.reduce(lambda branch, name: branch.setdefault(name, {}), modules, tree)
        branch[NAMES.get(kind, kind)] = tensor.T
    return tree


@pytest.fixture(autouse=True)
def _float64():
    """Among so many units, rounding to float32 rectifies some the other way, or moves some maximum."""
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("train", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("variant", STAGES)
def test_equal_to_pytorch(variant, train):
    torch.manual_seed(0)
    peer = Peer(STAGES[variant], ResidualBlock if variant.endswith("res") else Layer).double().train(train)
    before, sizes = {}, {}
    for path, norm in peer.named_modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
            before[f"{path}.running_mean"] = norm.running_mean.clone().numpy()
            before[f"{path}.running_var"] = norm.running_var.clone().numpy()
            count = functools.partial(sizes.__setitem__, f"{path}.running_var")
            norm.register_forward_hook(lambda _, inputs, y, count=count: count(y.numel() / y.shape[1]))
    rng = np.random.default_rng(0)
    sequence = rng.normal(size=(3, 3001, 1))
    weights = rng.normal(size=(3, 10))
    x = torch.tensor(sequence.transpose(0, 2, 1), requires_grad=True)
    peer_logits = peer(x)
    (peer_logits * torch.tensor(weights)).sum().backward()

    model = archs.build("convnet1d", variant=variant, num_classes=10, **FLOAT64)
    params = from_torch({path: p.detach().numpy() for path, p in peer.named_parameters()})
    statistics = from_torch(before)

    def loss(params, sequence):
        apply = functools.partial(model.apply, train=train, mutable=["batch_stats"])
        logits, updated = apply({"params": params, "batch_stats": statistics}, sequence)
        return (logits * weights).sum(), (logits, updated["batch_stats"])

    (_, (logits, updated)), (gradient, input_gradient) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    )(params, jnp.asarray(sequence))

    def close(actual, expected):
        # A bias that batch statistics take away again has no gradient but rounding: hence 1e-10.
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max() + 1e-10)

    close(logits, peer_logits.detach().numpy())
    close(input_gradient, x.grad.numpy().transpose(0, 2, 1))
    jax.tree.map(close, gradient, from_torch({path: p.grad.numpy() for path, p in peer.named_parameters()}))
    after = {path: peer.state_dict()[path].numpy() for path in before}
    for path, size in sizes.items() if train else ():
        # PyTorch's new share of the variance is the unbiased one, Flax's the one that normalised.
        after[path] = 0.9 * before[path] + (after[path] - 0.9 * before[path]) * (size - 1) / size
    jax.tree.map(close, updated, from_torch(after))
