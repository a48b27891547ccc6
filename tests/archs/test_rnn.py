"""Recurrence: masks, causality, the compiled loop and the cells' own equations."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.layers import recurrent
from archs.layers.recurrent import CELLS, GRUCell, LSTMCell, RecurrentLayer, RecurrentStack, SimpleCell

CASES = {
    "simple": {"cell": "simple", "hidden_size": 8, "activation": "relu", "outputs": "mean"},
    "gru": {
        "cell": "gru",
        "hidden_size": 8,
        "num_layers": 2,
        "outputs": "all",
        "reset_after": False,
        "unroll": 2,
        "layer_norm": True,
    },
    "lstm": {"hidden_size": 8, "bidirectional": True, "bias": "two", "forget_bias": 2.0, "implementation": "scan"},
    "lstm-all": {"hidden_size": 8, "peephole": True, "layer_norm": True, "remat": True, "output_length": 7},
    "tokens": {"hidden_size": 8, "vocab_size": 10, "embedding_size": 6, "outputs": "all"},
}
INPUTS = {"sequence": np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)}
TOKENS = np.random.default_rng(1).integers(10, size=(2, 5)).astype(np.int32)
OTHER_INPUTS = {"tokens": {"tokens": TOKENS, "mask": np.arange(5) < np.array([[5], [3]])}}
COUNTS = [
    (
        {"cell": cell, "bias": bias, "hidden_size": 128, "num_classes": None},
        count,
        {"sequence": jax.ShapeDtypeStruct((4, 128), "float32")},
    )
    for cell, one, two in [
        ("simple", 32_896, 33_024),
        ("gru", 98_688, 99_072),
        ("lstm", 131_584, 132_096),
    ]
    for bias, count in [("one", one), ("two", two)]
] + [
    (
        {"vocab_size": 1000, "embedding_size": 64, "hidden_size": 128, "outputs": "all", "num_classes": 1000},
        1000 * 64 + 4 * 128 * (64 + 128 + 1) + 129 * 1000,
        {"tokens": jax.ShapeDtypeStruct((20,), "int32")},
    ),
]

RNG = np.random.default_rng(0)
SEQUENCE = jnp.asarray(RNG.normal(size=(3, 6, 4)), jnp.float32)
LENGTHS = np.array([6, 4, 1])
MASK = jnp.asarray(np.arange(6)[None] < LENGTHS[:, None])

cells = pytest.mark.parametrize(
    "cell",
    [
        *[cell() for cell in CELLS.values()],
        GRUCell(reset_after=False, layer_norm=True),
        LSTMCell(peephole=True, layer_norm=True),
    ],
    ids=str,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@cells
def test_padding_changes_nothing(cell, random_variables):
    """Outputs at real steps, final states and gradients are those of the sequences cut to their length."""
    stack = RecurrentStack(cell, hidden_size=5, bidirectional=True, bias="two")
    params = random_variables(stack, SEQUENCE)
    mask = jnp.broadcast_to(jnp.arange(6)[None] < 4, (3, 6))
    padded = jnp.where(mask[:, :, None], SEQUENCE, jnp.nan)
    weights = jnp.asarray(RNG.normal(size=(3, 6, 10)), jnp.float32)

    def loss(params, sequence, mask, weights):
        outputs, states = stack.apply(params, sequence, mask)
        return jnp.sum(outputs * weights) + sum(map(jnp.sum, jax.tree.leaves(states))), (outputs, states)

    value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (outputs, states)), (gradient, input_gradient) = value_and_grad(params, padded, mask, weights)
    np.testing.assert_array_equal(outputs[:, 4:], 0)
    np.testing.assert_array_equal(input_gradient[:, 4:], 0)
    ours = (outputs[:, :4], states, gradient, input_gradient[:, :4])
    (_, (outputs, states)), gradients = value_and_grad(params, SEQUENCE[:, :4], None, weights[:, :4])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        ours,
        (outputs, states, *gradients),
    )


@pytest.mark.parametrize("outputs", ["last", "mean"])
def test_model_reads_real_steps_only(outputs, random_variables):
    model = archs.build("rnn", num_classes=2, hidden_size=5, bidirectional=True, outputs=outputs)
    params = random_variables(model, SEQUENCE)
    apply = jax.jit(model.apply)
    together = apply(params, SEQUENCE, MASK)
    for row, length in enumerate(LENGTHS):
        alone = apply(params, SEQUENCE[row : row + 1, :length])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-5, atol=1e-6)


@cells
def test_no_gradient_from_the_future(cell, random_variables):
    stack = RecurrentStack(cell, hidden_size=5, num_layers=2)
    params = random_variables(stack, SEQUENCE)
    gradient = jax.jit(lambda step: jax.grad(lambda x: stack.apply(params, x)[0].sum((0, 2))[step])(SEQUENCE))
    for step in range(6):
        reached = np.abs(gradient(step)).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(reached, np.arange(6) <= step)


def test_backward_layer_reads_from_the_end(random_variables):
    forward, backward = (RecurrentLayer(LSTMCell(), 5, reverse=reverse) for reverse in (False, True))
    params = random_variables(forward, SEQUENCE)
    outputs, state = backward.apply(params, SEQUENCE)
    expected, expected_state = forward.apply(params, SEQUENCE[:, ::-1])
    np.testing.assert_allclose(outputs, expected[:, ::-1], rtol=1e-6)
    jax.tree.map(np.testing.assert_allclose, state, expected_state)


def test_a_sequence_can_be_read_in_two_pieces(random_variables):
    stack = RecurrentStack(LSTMCell(), hidden_size=5)
    params = random_variables(stack, SEQUENCE)
    outputs, states = stack.apply(params, SEQUENCE)
    first, between = stack.apply(params, SEQUENCE[:, :2])
    second, last = stack.apply(params, SEQUENCE[:, 2:], initial_states=between)
    np.testing.assert_allclose(jnp.concatenate([first, second], axis=1), outputs, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), last, states)


@pytest.mark.parametrize("unroll", [2, 6])
def test_unrolling_changes_nothing(unroll, random_variables):
    looped, unrolled = (RecurrentStack(LSTMCell(), hidden_size=5, unroll=steps) for steps in (1, unroll))
    params = random_variables(looped, SEQUENCE)
    expected, _ = looped.apply(params, SEQUENCE, MASK)
    np.testing.assert_allclose(unrolled.apply(params, SEQUENCE, MASK)[0], expected, rtol=1e-6, atol=1e-7)


def test_only_the_hidden_product_is_inside_the_loop(random_variables):
    layer = RecurrentLayer(LSTMCell(), hidden_size=5)
    params = random_variables(layer, SEQUENCE)
    jaxpr = jax.make_jaxpr(layer.apply)(params, SEQUENCE).jaxpr
    (scan,) = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    outside = [equation for equation in jaxpr.eqns if equation.primitive.name == "dot_general"]
    inside = [e for e in scan.params["jaxpr"].jaxpr.eqns if e.primitive.name == "dot_general"]
    assert len(outside) == 1 and len(inside) == 1
    assert [variable.aval.shape for variable in inside[0].invars] == [(3, 5), (5, 4, 5)]


def test_gru_before_is_the_equation_of_cho(random_variables):
    layer = RecurrentLayer(GRUCell(reset_after=False), hidden_size=5, bias="one")
    params = random_variables(layer, SEQUENCE)
    w, u, b = (np.asarray(params["params"][name]) for name in ("input_kernel", "hidden_kernel", "bias"))
    h = np.zeros((3, 5))
    outputs, _ = layer.apply(params, SEQUENCE)
    for step in range(6):
        x = np.asarray(SEQUENCE[:, step])
        r = sigmoid(x @ w[:, 0] + h @ u[:, 0] + b[0])
        z = sigmoid(x @ w[:, 1] + h @ u[:, 1] + b[1])
        candidate = np.tanh(x @ w[:, 2] + (r * h) @ u[:, 2] + b[2])
        h = z * h + (1 - z) * candidate
        np.testing.assert_allclose(outputs[:, step], h, rtol=1e-5, atol=1e-6)


def norm(x, params, name, gates=slice(None)):
    """Layer normalisation over all values of each example, written for one group of gates [B, G, H]."""
    x = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    return x * params[f"{name}_norm_scale"][gates] + params[f"{name}_norm_bias"][gates]


def reference(cell, params, sequence):
    """Outputs of the cells with options, step by step from the papers' equations."""
    w, u, b = (params[name] for name in ("input_kernel", "hidden_kernel", "bias"))
    hidden_size = b.shape[-1]
    h, c = np.zeros((2, len(sequence), hidden_size))
    outputs = []
    for x in np.moveaxis(np.float64(sequence), 1, 0):
        wx, uh = np.einsum("bd,dgh->bgh", x, w), np.einsum("bd,dgh->bgh", h, u)
        if isinstance(cell, SimpleCell):
            h = np.tanh(norm(wx + uh + b, params, "sum"))[:, 0]
        elif isinstance(cell, GRUCell):
            gates, rest = slice(0, 2), slice(2, 3)
            r, z = np.moveaxis(
                sigmoid(
                    norm(wx[:, gates], params, "input", gates) + b[gates] + norm(uh[:, gates], params, "hidden", gates)
                ),
                1,
                0,
            )
            candidate = norm(wx[:, rest], params, "input", rest) + b[rest]
            if cell.reset_after:
                candidate = candidate + r[:, None] * norm(uh[:, rest], params, "hidden", rest)
            else:
                candidate = candidate + norm(np.einsum("bd,dgh->bgh", r * h, u[:, rest]), params, "hidden", rest)
            h = (1 - z) * np.tanh(candidate[:, 0]) + z * h
        else:
            if cell.layer_norm:
                wx, uh = norm(wx, params, "input"), norm(uh, params, "hidden")
            i, f, g, o = np.moveaxis(wx + uh + b, 1, 0)
            p = params["peephole"] if cell.peephole else np.zeros((3, hidden_size))
            i, f = sigmoid(i + p[0] * c), sigmoid(f + p[1] * c)
            c = f * c + i * np.tanh(g)
            o = sigmoid(o + p[2] * c)
            h = o * np.tanh(norm(c[:, None], params, "memory")[:, 0] if cell.layer_norm else c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize(
    "cell",
    [
        SimpleCell(layer_norm=True),
        GRUCell(layer_norm=True),
        GRUCell(reset_after=False, layer_norm=True),
        LSTMCell(layer_norm=True),
        LSTMCell(peephole=True),
        LSTMCell(peephole=True, layer_norm=True),
    ],
    ids=str,
)
def test_options_of_cells_are_the_equations_of_their_papers(cell, random_variables):
    layer = RecurrentLayer(cell, hidden_size=5)
    params = random_variables(layer, SEQUENCE)
    outputs, _ = jax.jit(layer.apply)(params, SEQUENCE)
    expected = reference(cell, jax.tree.map(np.float64, params["params"]), SEQUENCE)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_ignores_the_scale_of_the_input_kernel(random_variables):
    layer = RecurrentLayer(LSTMCell(layer_norm=True), hidden_size=5)
    params = random_variables(layer, SEQUENCE)["params"]
    larger = {"params": {**params, "input_kernel": 7 * params["input_kernel"]}}
    apply = jax.jit(layer.apply)
    np.testing.assert_allclose(apply(larger, SEQUENCE)[0], apply({"params": params}, SEQUENCE)[0], rtol=1e-2, atol=1e-3)


def test_remat_keeps_less_and_changes_nothing(random_variables):
    sequence = jnp.asarray(RNG.normal(size=(4, 64, 4)), jnp.float32)
    params = random_variables(RecurrentLayer(LSTMCell(), hidden_size=16), sequence)
    gradients, memory = {}, {}
    for remat in (False, True):
        layer = RecurrentLayer(LSTMCell(), hidden_size=16, remat=remat)
        loss = jax.grad(lambda params, layer=layer: jnp.square(layer.apply(params, sequence)[0]).sum())
        compiled = jax.jit(loss).lower(params).compile()
        gradients[remat], memory[remat] = compiled(params), compiled.memory_analysis().temp_size_in_bytes
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *gradients.values())
    assert memory[True] < 0.8 * memory[False]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bias", ["one", "two"])
def test_cudnn_gets_the_same_weights(bias, reverse, random_variables, monkeypatch):
    """JAX's own reference of its cuDNN binding stands in for the kernel, which needs a GPU."""
    binding = recurrent.cudnn

    def stand_in(x, h, c, packed, lengths, width, hidden_size, *rest):
        weights = binding.unpack_lstm_weights(packed, width, hidden_size, *rest[::2])
        return binding.lstm_ref(x, h, c, *weights, lengths, width, hidden_size, *rest)

    layer = RecurrentLayer(LSTMCell(), hidden_size=5, bias=bias, reverse=reverse)
    params = random_variables(layer, SEQUENCE)
    state = tuple(jnp.asarray(RNG.normal(size=(3, 5)), jnp.float32) for _ in range(2))
    expected = layer.apply(params, SEQUENCE, None, state)
    monkeypatch.setattr(binding, "lstm", stand_in)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    outputs = layer.clone(implementation="cudnn").apply(params, SEQUENCE, None, state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), outputs, expected)


@pytest.mark.parametrize(
    "fields, masked, problem",
    [
        ({"cell": "gru"}, False, "cell but the LSTM"),
        ({"peephole": True}, False, "peephole"),
        ({"layer_norm": True}, False, "layer_norm"),
        ({}, True, "mask"),
        ({"remat": True}, False, "remat"),
        ({"unroll": 2}, False, "unroll"),
        ({"dtype": "bfloat16"}, False, "dtype='bfloat16'"),
        ({}, False, "kernel for cpu"),
    ],
)
def test_cudnn_refuses_what_it_cannot_do(fields, masked, problem):
    model = archs.build("rnn", num_classes=2, implementation="cudnn", **fields)
    with pytest.raises(ValueError, match=f"rnn: implementation='cudnn' has no {problem}; use implementation='scan'"):
        jax.eval_shape(model.init, jax.random.key(0), SEQUENCE, MASK if masked else None)


def test_one_to_many_reads_zeros_after_its_input(random_variables):
    one = SEQUENCE[:, :1]
    model = archs.build("rnn", num_classes=2, hidden_size=5, outputs="all", output_length=4)
    params = random_variables(model, one)
    outputs = jax.jit(model.apply)(params, one)
    assert outputs.shape == (3, 4, 2)
    many = archs.build("rnn", num_classes=2, hidden_size=5, outputs="all")
    padded = jnp.concatenate([one, jnp.zeros((3, 3, 4))], axis=1)
    np.testing.assert_allclose(outputs, jax.jit(many.apply)(params, padded), rtol=1e-6)


@pytest.mark.parametrize("length, mask, problem", [(5, None, "the sequence has 6 steps"), (8, MASK, "a mask is given")])
def test_output_length_must_fit(length, mask, problem):
    model = archs.build("rnn", num_classes=2, output_length=length)
    with pytest.raises(ValueError, match=f"rnn: output_length is {length}, and {problem}"):
        jax.eval_shape(model.init, jax.random.key(0), SEQUENCE, mask)


def test_lstm_holds_its_memory(random_variables):
    """With the forget gate open and the input gate shut, the cell is constant for 1,000 steps."""
    layer = RecurrentLayer(LSTMCell(), hidden_size=5)
    sequence = jnp.asarray(RNG.normal(size=(1, 1000, 4)), jnp.float32)
    params = random_variables(layer, sequence)
    bias = jnp.zeros((4, 5)).at[0].set(-30.0).at[1].set(30.0)
    params = {"params": {**params["params"], "bias": bias}}
    memory = jnp.linspace(-1, 1, 5)[None]
    _, (cell, _) = layer.apply(params, sequence, None, (memory, jnp.zeros((1, 5))))
    np.testing.assert_allclose(cell, memory, atol=1e-6)


def test_initial_forget_bias_and_orthogonal_gates():
    layer = RecurrentLayer(LSTMCell(forget_bias=2.0), hidden_size=5)
    params = layer.init(jax.random.key(0), SEQUENCE)["params"]
    np.testing.assert_array_equal(params["bias"], np.array([0, 2, 0, 0])[:, None] * np.ones((1, 5)))
    for gate in range(4):
        u = np.asarray(params["hidden_kernel"][:, gate])
        np.testing.assert_allclose(u @ u.T, np.eye(5), atol=1e-5)


def test_size_does_not_depend_on_length():
    model = archs.build("rnn", num_classes=2, hidden_size=5)
    one, other = (
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, length, 4), jnp.float32))
        for length in (8, 4096)
    )
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)
