"""Sequence to sequence against the papers' equations in PyTorch, step by step and row by row: logits and gradients."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

SIZES = {"source_vocab_size": 9, "target_vocab_size": 8, "hidden_size": 6, "embedding_size": 5}
HIDDEN = SIZES["hidden_size"]
RNG = np.random.default_rng(0)
SOURCE, TARGET = RNG.integers(9, size=(3, 6)), RNG.integers(8, size=(3, 5))
LENGTHS = (6, 4, 1)
START = 2


def lstm(p, x, state):
    """`state` is (c, h), as ours."""
    w, u, b = (p[name].flatten(-2) for name in ("input_kernel", "hidden_kernel", "bias"))
    c, h = state
    h, c = torch.lstm_cell(x[None], (h[None], c[None]), w.T, u.T, b, torch.zeros_like(b))
    return c[0], h[0]


def gru(p, x, state):
    """Cho et al., 2014, eq. 5 to 8; z is the share that is kept."""
    (h,) = state
    w, u, b = (p[name] for name in ("input_kernel", "hidden_kernel", "bias"))
    r = torch.sigmoid(x @ w[:, 0] + h @ u[:, 0] + b[0])
    z = torch.sigmoid(x @ w[:, 1] + h @ u[:, 1] + b[1])
    candidate = torch.tanh(x @ w[:, 2] + (r * h) @ u[:, 2] + b[2])
    return (z * h + (1 - z) * candidate,)


def dense(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def maxout(p, x):
    values = dense(p, x)
    return torch.maximum(values[0::2], values[1::2])


def zeros(count):
    return tuple(torch.zeros(HIDDEN) for _ in range(count))


def attend(scores, states):
    weights = torch.softmax(torch.stack(scores), dim=0)
    return sum(weight * state for weight, state in zip(weights, states, strict=True))


def cho(p, source, target):
    state = zeros(1)
    for word in source:
        state = gru(p["encoder"]["forward_0"], word, state)
    summary = torch.tanh(dense(p["summary"], state[0]))
    state = (torch.tanh(dense(p["bridge_0"], summary)),)
    for word in target:
        state = gru(p["decoder"]["stack"]["forward_0"], torch.cat([word, summary]), state)
        yield maxout(p["decoder"]["maxout"], torch.cat([state[0], word, summary]))


def sutskever(p, source, target):
    states = [zeros(2), zeros(2)]
    for side, words in (("encoder", source.flip(0)), ("decoder", target)):
        stack = p[side] if side == "encoder" else p[side]["stack"]
        for word in words:
            for layer in range(2):
                states[layer] = lstm(stack[f"forward_{layer}"], word, states[layer])
                word = states[layer][1]
            if side == "decoder":
                yield word


def bahdanau(p, source, target):
    forward, backward = [zeros(1)], [zeros(1)]
    for word in source:
        forward.append(gru(p["encoder"]["forward_0"], word, forward[-1]))
    for word in source.flip(0):
        backward.append(gru(p["encoder"]["backward_0"], word, backward[-1]))
    states = [torch.cat([f[0], b[0]]) for f, b in zip(forward[1:], backward[:0:-1], strict=True)]
    attention, state = p["decoder"]["attend"], (torch.tanh(dense(p["bridge_0"], backward[-1][0])),)
    for word in target:
        energies = [torch.tanh(dense(attention["query"], state[0]) + dense(attention["key"], h)) for h in states]
        context = attend([dense(attention["energy"], energy)[0] for energy in energies], states)
        yield maxout(p["decoder"]["maxout"], torch.cat([state[0], word, context]))
        state = gru(p["decoder"]["stack"]["forward_0"], torch.cat([word, context]), state)


def luong(score):
    def network(p, source, target):
        state, states = zeros(2), []
        for word in source:
            state = lstm(p["encoder"]["forward_0"], word, state)
            states.append(state[1])
        attention, fed = p["decoder"].get("attend", {}), torch.zeros(HIDDEN)
        for word in target:
            state = lstm(p["decoder"]["stack"]["forward_0"], torch.cat([word, fed]), state)
            if score == "dot":
                scores = [state[1] @ h for h in states]
            elif score == "general":
                scores = [state[1] @ dense(attention["key"], h) for h in states]
            else:
                matrix = torch.cat([attention["query"]["kernel"], attention["key"]["kernel"]])
                scores = [
                    (torch.tanh(torch.cat([state[1], h]) @ matrix) @ attention["energy"]["kernel"])[0] for h in states
                ]
            context = attend(scores, states)
            fed = torch.tanh(dense(p["decoder"]["attentional"], torch.cat([context, state[1]])))
            yield fed

    return network


LUONG = {"cell": "lstm", "initial_state": "copy", "input_feeding": True}
NETWORKS = {
    "cho": (cho, {"attention": "none", "summary_every_step": True, "maxout_size": 4}),
    "sutskever": (
        sutskever,
        {"cell": "lstm", "num_layers": 2, "attention": "none", "initial_state": "copy", "reverse_source": True},
    ),
    "bahdanau": (bahdanau, {"attention": "additive", "bidirectional": True, "alignment_size": 4, "maxout_size": 4}),
    **{f"luong-{score}": (luong(score), {**LUONG, "attention": score}) for score in ("dot", "general", "concat")},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_equations(name):
    network, fields = NETWORKS[name]
    model = archs.build("seq2seq", **SIZES, **fields, start_token=START)
    mask = jnp.asarray(np.arange(6)[None] < np.array(LENGTHS)[:, None])
    inputs = jnp.asarray(SOURCE), jnp.asarray(TARGET), mask
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    params = jax.tree.map(lambda leaf: RNG.normal(0, 0.5, leaf.shape).astype(np.float32), shapes)
    weights = RNG.normal(size=(3, 5, 8)).astype(np.float32)

    def loss(params):
        logits = model.apply({"params": params}, *inputs)
        return (logits * weights).sum(), logits

    (_, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(jax.tree.map(jnp.asarray, params))

    peer = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params)
    rows = []
    for source, target, length in zip(SOURCE, TARGET, LENGTHS, strict=True):
        source_words = peer["source_embedding"]["embedding"][torch.tensor(source[:length])]
        target_words = peer["target_embedding"]["embedding"][torch.tensor([START, *target[:-1]])]
        features = network(peer, source_words, target_words)
        rows.append(torch.stack([dense(peer["head"]["dense"], feature) for feature in features]))
    expected = torch.stack(rows)
    (expected * torch.tensor(weights)).sum().backward()

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    close(logits, expected.detach().numpy())
    jax.tree.map(lambda ours, theirs: close(ours, theirs.grad.numpy()), gradient, peer)
