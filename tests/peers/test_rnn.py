"""Recurrent layers against PyTorch's nn.RNN, nn.GRU and nn.LSTM: outputs, final states and gradients."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers.recurrent import GRUCell, LSTMCell, RecurrentStack, SimpleCell

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

WIDTH, HIDDEN = 4, 5
CELLS = {
    "tanh": (SimpleCell("tanh"), torch.nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (SimpleCell("relu"), torch.nn.RNN, {"nonlinearity": "relu"}),
    "gru": (GRUCell(reset_after=True), torch.nn.GRU, {}),
    "lstm": (LSTMCell(), torch.nn.LSTM, {}),
}
NAMES = {
    "weight_ih": "input_kernel",
    "weight_hh": "hidden_kernel",
    "bias_ih": "bias",
    "bias_hh": "hidden_bias",
}


def from_torch(tensors: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """PyTorch stacks gates in rows: [G·H, D] becomes [D, G, H]."""
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in tensors.items():
        kind, rest = name.split("_l")
        layer, _, backward = rest.partition("_")
        module = params.setdefault(f"{'backward' if backward else 'forward'}_{layer}", {})
        gates = tensor.reshape(-1, HIDDEN, *tensor.shape[1:])
        module[NAMES[kind]] = np.moveaxis(gates, -1, 0) if tensor.ndim == 2 else gates
    return params


@pytest.mark.parametrize("lengths", [None, (7, 4, 1)], ids=["full", "packed"])
@pytest.mark.parametrize("num_layers, bidirectional", [(1, False), (2, False), (2, True), (3, True)])
@pytest.mark.parametrize("cell", CELLS)
def test_equal_to_pytorch(cell, num_layers, bidirectional, lengths):
    ours, peer_class, options = CELLS[cell]
    torch.manual_seed(0)
    peer = peer_class(WIDTH, HIDDEN, num_layers=num_layers, bidirectional=bidirectional, batch_first=True, **options)
    rng = np.random.default_rng(0)
    sequence = rng.normal(size=(3, 7, WIDTH)).astype(np.float32)
    weights = rng.normal(size=(3, 7, HIDDEN * (1 + bidirectional))).astype(np.float32)
    state_weights = rng.normal(size=(num_layers * (1 + bidirectional), 3, HIDDEN)).astype(np.float32)

    x = torch.tensor(sequence, requires_grad=True)
    if lengths is None:
        mask = None
        peer_outputs, peer_states = peer(x)
    else:
        mask = jnp.asarray(np.arange(7)[None] < np.array(lengths)[:, None])
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        packed, peer_states = peer(packed)
        peer_outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    peer_states = peer_states if isinstance(peer_states, tuple) else (peer_states,)  # LSTM: (h, c)
    peer_loss = (peer_outputs * torch.tensor(weights)).sum()
    peer_loss = peer_loss + sum((state * torch.tensor(state_weights)).sum() for state in peer_states)
    peer_loss.backward()

    stack = RecurrentStack(ours, hidden_size=HIDDEN, num_layers=num_layers, bidirectional=bidirectional, bias="two")
    params = from_torch({name: p.detach().numpy() for name, p in peer.named_parameters()})

    def loss(params, sequence):
        outputs, states = stack.apply({"params": params}, sequence, mask)
        # Ours: per layer and direction a state, h last. PyTorch's: h of them all, then c of them all.
        states = [jnp.stack(part) for part in zip(*states, strict=True)][::-1]
        return (outputs * weights).sum() + sum((s * state_weights).sum() for s in states), (outputs, states)

    (_, (outputs, states)), (gradient, input_gradient) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    )(jax.tree.map(jnp.asarray, params), jnp.asarray(sequence))

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    close(outputs, peer_outputs.detach().numpy())
    for state, peer_state in zip(states, peer_states, strict=True):
        close(state, peer_state.detach().numpy())
    close(input_gradient, x.grad.numpy())
    peer_gradient = from_torch({name: p.grad.numpy() for name, p in peer.named_parameters()})
    assert jax.tree.structure(gradient) == jax.tree.structure(peer_gradient)
    jax.tree.map(close, gradient, peer_gradient)
