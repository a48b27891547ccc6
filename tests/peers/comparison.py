"""Comparison with a PyTorch network that has batch statistics: outputs, all gradients, and the statistics.

In float64: in float32, a ReLU whose input is zero but for rounding may open on one side only, and what that changes
grows over 53 layers.
"""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import numpy as jnp

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")


def settle(peer, x) -> None:
    """Takes statistics from a batch, then moves them and the scales from where normalisation hides mistakes."""
    norms = [module for module in peer.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.2)
        peer.train()(x)
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean += 0.2 * torch.randn_like(norm.running_mean) * norm.running_var.sqrt()
            norm.running_var *= 0.5 + torch.rand_like(norm.running_var)


def count_samples(peer) -> dict[str, int]:
    """A dictionary that fills with the samples per channel that each normalisation reads."""
    counts: dict[str, int] = {}

    def hook(name):
        return lambda module, inputs, outputs: counts.update({name: outputs.numel() // outputs.shape[1]})

    for name, module in peer.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(hook(name))
    return counts


def states(peer) -> dict[str, np.ndarray]:
    """Parameters and statistics."""
    return {name: tensor.detach().numpy().copy() for name, tensor in peer.state_dict().items() if tensor.ndim}


def biased(before, after, counts) -> dict[str, np.ndarray]:
    """The states after a training step if running variances were of the biased estimate, as flax's are."""
    result = dict(after)
    for name, n in counts.items():
        variance = f"{name}.running_var"
        step = after[variance] - 0.9 * before[variance]
        result[variance] = 0.9 * before[variance] + step * (n - 1) / n
    return result


def from_torch(tensors, place) -> dict:
    """Nested as ours; kernels [O, I, X, Y] become [X, Y, I, O], and [O, I] become [I, O]."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    return unflatten_dict({place(name): tensor.transpose(axes[tensor.ndim]) for name, tensor in tensors.items()})


def close(actual, expected, name):
    assert expected.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=str(name))


def compare(peer, forward, model, place, image, train) -> None:
    """Asserts that all outputs, all gradients of a random weighting of them, and all statistics are equal, in float64.

    Args:
        peer: The PyTorch module.
        forward: Its outputs for a tensor, as a list.
        model: Ours; what it sows follows its logits.
        place: From names of tensors in the peer to paths in our variables.
        image: The input.
        train: Whether in training.
    """
    peer = peer.double()
    x = torch.tensor(image.transpose(0, 3, 1, 2), requires_grad=True)
    settle(peer, x)
    counts = count_samples(peer)
    before = states(peer)
    peer_outputs = forward(peer.train(train), x)
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=output.shape) for output in peer_outputs]
    sum((output * torch.tensor(w)).sum() for output, w in zip(peer_outputs, weights, strict=True)).backward()
    peer_gradients = {name: p.grad.numpy() for name, p in peer.named_parameters()}
    expected = biased(before, states(peer), counts if train else {})

    variables = jax.tree.map(jnp.asarray, from_torch(before, place))

    def loss(params, image):
        trained = {**variables, "params": params}
        logits, changed = model.apply(trained, image, train=train, mutable=["batch_stats", "auxiliary"])
        outputs = [logits, *jax.tree.leaves(changed.get("auxiliary", {}))]
        total = sum((output * w).sum() for output, w in zip(outputs, weights, strict=True))
        return total, (outputs, changed["batch_stats"])

    (_, (outputs, statistics)), (gradients, image_gradient) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    )(variables["params"], jnp.asarray(image))

    for output, peer_output in zip(outputs, peer_outputs, strict=True):
        close(output, peer_output.detach().numpy(), "output")
    close(image_gradient, x.grad.numpy().transpose(0, 2, 3, 1), "gradient of the image")
    pairs = [
        (gradients, from_torch(peer_gradients, place)["params"]),
        (statistics, from_torch(expected, place)["batch_stats"]),
    ]
    for ours, theirs in pairs:
        ours, theirs = flatten_dict(ours), flatten_dict(theirs)
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            close(ours[name], value, name)
