"""Graph networks: permutations, padding, how far messages travel, what each kind of block reads, and mistakes."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs import graph_network

SMALL = {"hidden_size": 8, "activation": "tanh"}
CASES = {
    "full": {**SMALL, "aggregation": "mean"},
    "full_edges": {**SMALL, "outputs": "edges", "num_mlp_layers": 1, "aggregation": "max"},
    "interaction": {**SMALL, "variant": "interaction", "outputs": "globals"},
    "message_passing": {**SMALL, "variant": "message_passing", "aggregation": "max"},
    "deep_sets": {**SMALL, "variant": "deep_sets", "num_layers": 2},
    "gcn": {"variant": "gcn", "hidden_size": 8},
}


def random_graphs(num_nodes: int, num_edges: int, sizes: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Graphs with these shares of the nodes and edges; the last node of each receives nothing."""
    rng = np.random.default_rng(0)
    shares = np.array(sizes)[:, None]
    node_mask = np.arange(num_nodes) < np.round(shares * num_nodes)
    edge_mask = np.arange(num_edges) < np.round(shares * num_edges)
    real = np.maximum(node_mask.sum(axis=1, keepdims=True), 2)
    return {
        "nodes": (rng.normal(size=(len(sizes), num_nodes, 5)) * node_mask[:, :, None]).astype(np.float32),
        "senders": (rng.integers(real, size=edge_mask.shape) * edge_mask).astype(np.int32),
        "receivers": (rng.integers(real - 1, size=edge_mask.shape) * edge_mask).astype(np.int32),
        "node_mask": node_mask,
        "edge_mask": edge_mask,
    }


INPUTS = random_graphs(num_nodes=9, num_edges=15, sizes=(1, 2 / 3))
HIDDEN = 64 * 65  # a layer from 64 units to 64
COUNTS = [
    ({"variant": "gcn", "num_classes": 7}, 23_063),
    ({"variant": "deep_sets", "num_classes": 7}, 1434 * 64 + 3 * HIDDEN + 65 * 7),
    ({"variant": "interaction", "num_classes": 7}, (2 * 1433 + 1) * 64 + (1433 + 65) * 64 + 2 * HIDDEN + 65 * 7),
]


def build(case: str, **fields):
    return archs.build("graph_network", **{"num_classes": 3, **CASES[case], **fields})


def with_attributes(model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs, and attributes of edges and of the whole if the model reads them."""
    rng = np.random.default_rng(1)
    batch, num_edges = inputs["senders"].shape
    edges = rng.normal(size=(batch, num_edges, 2)).astype(np.float32)
    whole = rng.normal(size=(batch, 4)).astype(np.float32)
    inputs = {**inputs, "edges": edges} if ("edges", "edges") in model.reads() else inputs
    return {**inputs, "globals": whole} if any(source == "globals" for _, source in model.reads()) else inputs


def permuted(inputs, nodes, edges) -> dict[str, np.ndarray]:
    """The same graphs with nodes and edges in other places."""
    place = np.argsort(nodes)
    order = {"nodes": nodes, "node_mask": nodes, "edges": edges, "edge_mask": edges}
    moved = {key: value[:, order[key]] if key in order else value for key, value in inputs.items()}
    return moved | {key: place[inputs[key]][:, edges] for key in ("senders", "receivers")}


@pytest.mark.parametrize("case", CASES)
def test_commutes_with_permutations(case, random_variables):
    model = build(case)
    inputs = with_attributes(model, INPUTS)
    variables = random_variables(model, **inputs)
    apply = jax.jit(model.apply)
    outputs = np.asarray(apply(variables, **inputs))
    rng = np.random.default_rng(2)
    nodes, edges = rng.permutation(9), rng.permutation(15)
    for one, other in [(nodes, np.arange(15)), (np.arange(9), edges), (nodes, edges)]:
        moved = apply(variables, **permuted(inputs, one, other))
        order = {"nodes": one, "edges": other}.get(model.outputs)
        np.testing.assert_allclose(moved, outputs if order is None else outputs[:, order], rtol=1e-5, atol=1e-5)
    assert outputs.std() > 0.01, "outputs are worth comparing"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_padded_batch_equals_one_graph_at_a_time(case, random_variables):
    """Outputs and gradients, with NaN and indices of no node in the padding, and a graph that is all padding."""
    model = build(case)
    inputs = with_attributes(model, random_graphs(num_nodes=9, num_edges=15, sizes=(1, 2 / 3, 0)))
    variables = random_variables(model, **inputs)
    masks = {"nodes": inputs["node_mask"], "edges": inputs["edge_mask"]}
    masks |= {"senders": masks["edges"], "receivers": masks["edges"]}
    garbage = {"nodes": np.nan, "edges": np.nan, "senders": -7, "receivers": 99}
    for key in garbage.keys() & inputs.keys():
        mask = masks[key].reshape(*masks[key].shape, *[1] * (inputs[key].ndim - 2))
        inputs[key] = np.where(mask, inputs[key], garbage[key]).astype(inputs[key].dtype)
    rng = np.random.default_rng(3)
    place = {"nodes": (9,), "edges": (15,), "globals": ()}[model.outputs]
    weights = rng.normal(size=(3, *place, 3)).astype(np.float32)

    @jax.jit
    def outputs_and_gradients(inputs, weights):
        floats = {key: value for key, value in inputs.items() if value.dtype == jnp.float32}

        def loss(variables, floats):
            outputs = model.apply(variables, **inputs | floats)
            return (outputs * weights).sum(), outputs

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, floats)

    (gradient, input_gradient), outputs = outputs_and_gradients(inputs, weights)
    single = []
    for row in range(2):
        cut = {key: value[row : row + 1] for key, value in inputs.items() if "mask" not in key}
        cut = {key: value[:, masks[key][row]] if key in masks else value for key, value in cut.items()}
        real = masks[model.outputs][row] if model.outputs in masks else slice(None)
        (one, cut_gradient), cut_outputs = outputs_and_gradients(cut, weights[row : row + 1, real])
        np.testing.assert_allclose(outputs[row][real], cut_outputs[0], rtol=1e-5, atol=1e-5)
        for key, expected in cut_gradient.items():
            actual = np.asarray(input_gradient[key][row])[masks[key][row] if key in masks else slice(None)]
            np.testing.assert_allclose(actual, expected[0], rtol=1e-4, atol=1e-5)
        single.append(one)
    (empty, _), empty_outputs = outputs_and_gradients(jax.tree.map(lambda x: x[2:], inputs), weights[2:])
    jax.tree.map(
        lambda whole, *parts: np.testing.assert_allclose(whole, sum(parts), rtol=1e-4, atol=1e-5),
        *(gradient, *single, empty),
    )
    np.testing.assert_allclose(outputs[2:], empty_outputs, rtol=1e-5, atol=1e-6)
    for key in input_gradient.keys() & masks.keys():
        np.testing.assert_array_equal(np.asarray(input_gradient[key])[~masks[key]], 0)
    if model.outputs in masks:
        np.testing.assert_array_equal(np.asarray(outputs)[~masks[model.outputs]], 0)


def test_edges_of_padding_nodes_are_padding(random_variables):
    """As libraries pad graphs that have no mask of edges: with edges between nodes that are padding."""
    model = build("full", outputs="globals")
    inputs = jax.tree.map(lambda x: x[1:], INPUTS)
    variables = random_variables(model, **inputs)
    senders, receivers = (np.where(inputs["edge_mask"], inputs[key], 8) for key in ("senders", "receivers"))
    senders[0, -1] = 0  # one begins at a real node
    without = {"nodes": inputs["nodes"], "node_mask": inputs["node_mask"], "senders": senders, "receivers": receivers}
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(apply(variables, **without), apply(variables, **inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("key, index", [("senders", 9), ("receivers", 9), ("senders", -1), ("receivers", -1)])
def test_an_edge_to_no_node_makes_its_graph_nan(key, index, random_variables):
    model = build("gcn")
    variables = random_variables(model, **INPUTS)
    ends = np.array(INPUTS[key])
    ends[0, 3] = index
    outputs = np.asarray(jax.jit(model.apply)(variables, **{**INPUTS, key: ends}))
    assert np.isnan(outputs[0]).all() and np.isfinite(outputs[1]).all()


# A path from node 0 to node 4, and the nodes that reach node 4.
@pytest.mark.parametrize(
    "block, num_layers, reached",
    [
        ("message_passing", 1, {3, 4}),
        ("message_passing", 3, {1, 2, 3, 4}),
        ("interaction", 2, {2, 3, 4}),
        ("gcn", 1, {3, 4}),
        ("gcn", 2, {2, 3, 4}),
        ("full", 1, {3, 4}),
        ("full", 2, {0, 1, 2, 3, 4}),
        ("deep_sets", 1, {4}),
        ("deep_sets", 2, {0, 1, 2, 3, 4}),
    ],
)
def test_how_far_messages_travel(block, num_layers, reached, random_variables):
    model = archs.build(
        "graph_network", block=block, num_layers=num_layers, hidden_size=8, activation="tanh", num_classes=3
    )
    graph = {"senders": jnp.array([[0, 1, 2, 3]]), "receivers": jnp.array([[1, 2, 3, 4]])}
    nodes = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 2)), jnp.float32)
    variables = random_variables(model, nodes, **graph)
    gradient = jax.jit(jax.grad(lambda nodes: model.apply(variables, nodes, **graph)[0, 4].sum()))(nodes)
    assert set(np.flatnonzero(np.abs(gradient[0]).max(axis=-1) > 0)) == reached


def test_deep_sets_ignore_edges(random_variables):
    model = build("deep_sets")
    variables = random_variables(model, **INPUTS)
    without = {key: INPUTS[key] for key in ("nodes", "node_mask")}
    apply = jax.jit(model.apply)
    np.testing.assert_array_equal(apply(variables, **INPUTS), apply(variables, **without))


@pytest.mark.parametrize(
    "fields, joined, outputs",
    [
        # Widths of nodes, edges and globals: 5, 2 and 4 as given, 8 as updated.
        ({"outputs": "nodes"}, [("block_0", 2 + 5 + 5 + 4, 8 + 5 + 4, 8 + 8 + 4), ("block_1", 32, 24, None)], 8),
        ({"outputs": "edges"}, [("block_0", 16, 17, 20), ("block_1", 32, None, None)], 8),
        ({"outputs": "globals"}, [("block_0", 16, 17, 20), ("block_1", 32, 24, 24)], 8),
        ({"block": "interaction"}, [("block_0", 12, 8 + 5 + 4, None), ("block_1", 2 + 8 + 8, 8 + 8 + 4, None)], 8),
        (
            {"block": "message_passing", "outputs": "globals"},
            [("block_0", 12, 8 + 5, None), ("block_1", 2 + 8 + 8, 16, 8)],
            8,
        ),
        ({"block": "deep_sets"}, [("block_0", None, 5 + 4, 8), ("block_1", None, 8 + 8, None)], 8),
    ],
)
def test_updates_read_what_the_table_says(fields, joined, outputs):
    """Of each block, the widths that updates of edges, nodes and globals read; None is no such update."""
    model = archs.build("graph_network", num_classes=None, hidden_size=8, **fields)
    inputs = with_attributes(model, INPUTS)
    features, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), **x), inputs)
    assert features.shape[-1] == outputs and len(variables["params"]) == len(joined)
    for name, *widths in joined:
        block = variables["params"][name]
        for target, width in zip(("edges", "nodes", "globals"), widths, strict=True):
            layers = [layer for layer in block if layer.startswith(target)]
            assert len(layers) == (0 if width is None else 2)
            assert width is None or block[f"{target}_0"]["kernel"].shape == (width, 8)


@pytest.mark.parametrize("kind, expected", [("sum", [4, 0, -3]), ("mean", [2, 0, -3]), ("max", [3, 0, -3])])
def test_aggregates_are_zero_of_nothing(kind, expected):
    values = jnp.array([[[1.0], [3.0], [-3.0], [jnp.nan]]])
    structure = graph_network.Structure(
        senders=jnp.zeros((1, 4), int),
        receivers=jnp.array([[0, 0, 2, 0]]),
        node_mask=jnp.ones((1, 3), bool),
        edge_mask=jnp.array([[True, True, True, False]]),
    )
    received, gradient = jax.vjp(lambda x: graph_network.of_received(kind, x, structure), values)
    np.testing.assert_array_equal(received[0, :, 0], expected)
    assert np.isfinite(gradient(received)[0]).all()
    nothing, gradient = jax.vjp(lambda x: graph_network.of_all(kind, x, jnp.zeros((1, 4), bool)), values)
    np.testing.assert_array_equal(nothing, [[0]])
    np.testing.assert_array_equal(gradient(nothing + 1)[0], 0)


@pytest.mark.parametrize("kind, expected", [("sum", 1000), ("mean", 1)])
def test_low_precision_loses_no_addends(kind, expected):
    ones, mask = jnp.ones((1, 1000, 1), jnp.bfloat16), jnp.ones((1, 1000), bool)
    structure = graph_network.Structure(jnp.zeros((1, 1000), int), jnp.zeros((1, 1000), int), mask[:, :1], mask)
    for result in (graph_network.of_all(kind, ones, mask), graph_network.of_received(kind, ones, structure)):
        assert result.dtype == jnp.bfloat16 and result.item() == expected


def test_convolution_multiplies_by_the_normalised_adjacency():
    rng = np.random.default_rng(0)
    adjacency = np.triu(rng.random((6, 6)) < 0.5, 1)
    adjacency[:, 3] = adjacency[3] = False  # node 3 is alone
    adjacency = (adjacency | adjacency.T).astype(np.float64)
    senders, receivers = (jnp.asarray(ends)[None] for ends in np.nonzero(adjacency))
    structure = graph_network.Structure(senders, receivers, jnp.ones((1, 6), bool), jnp.ones(senders.shape, bool))
    with_loops = adjacency + np.eye(6)
    degrees = with_loops.sum(axis=1)
    expected = with_loops / np.sqrt(degrees[:, None] * degrees[None])
    params = {"kernel": jnp.eye(6), "bias": jnp.zeros(6)}
    convolution = graph_network.Convolution(6)
    actual = jax.jit(convolution.apply)({"params": params}, jnp.eye(6)[None], structure)
    np.testing.assert_allclose(actual[0], expected, rtol=1e-6)
    np.testing.assert_allclose(actual[0, 3], np.eye(6)[3], rtol=1e-6)


def test_convolutions_drop_their_inputs():
    model = build("gcn", num_classes=64, num_layers=1, dropout_rate=0.5)
    params = {"convolution_0": {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}}
    nodes = jnp.ones((1, 4, 64))
    no_edges = {"senders": jnp.zeros((1, 0), int), "receivers": jnp.zeros((1, 0), int)}
    apply = jax.jit(lambda key: model.apply({"params": params}, nodes, **no_edges, train=True, rngs={"dropout": key}))
    outputs = apply(jax.random.key(0))
    assert set(np.unique(outputs)) == {0, 2} and 64 < (np.asarray(outputs) == 0).sum() < 192


ENDS = {"senders": INPUTS["senders"], "receivers": INPUTS["receivers"]}
EDGES, WHOLE = np.zeros((2, 15, 2), np.float32), np.zeros((2, 4), np.float32)


@pytest.mark.parametrize(
    "fields, inputs, message",
    [
        (
            {"block": "gcn", "outputs": "globals"},
            ENDS,
            "outputs='globals' does not go with block='gcn'; allowed: nodes",
        ),
        ({"block": "deep_sets", "outputs": "edges"}, {}, "outputs='edges' does not go .* allowed: nodes, globals"),
        ({"block": "gcn", "num_mlp_layers": 2}, ENDS, "num_mlp_layers=2 does not go with block='gcn'"),
        ({"block": "gcn", "aggregation": "mean"}, ENDS, "aggregation='mean' does nothing .* block='gcn'; leave it out"),
        ({"outputs": "edges", "num_layers": 1, "aggregation": "sum"}, ENDS, "aggregation='sum' does nothing"),
        ({"block": "deep_sets", "num_layers": 1, "aggregation": "max"}, {}, "aggregation='max' does nothing"),
        ({"block": "gcn"}, {**ENDS, "edges": EDGES}, "edges have attributes, and block='gcn' does not read them"),
        ({"block": "deep_sets"}, {**ENDS, "edges": EDGES}, "edges have attributes, and block='deep_sets' does not"),
        ({"block": "message_passing"}, {**ENDS, "globals": WHOLE}, "globals are given, and .* do not read them"),
        (
            {"block": "interaction", "num_layers": 1, "outputs": "edges"},
            {**ENDS, "globals": WHOLE},
            "globals are given",
        ),
        ({}, {}, "block='full' reads senders and receivers; give both, or choose block='deep_sets'"),
        ({"block": "gcn"}, {"senders": ENDS["senders"]}, "block='gcn' reads senders and receivers"),
        ({}, {**ENDS, "receivers": np.zeros((2, 15), np.float32)}, "must be integers, .* given: receivers float32"),
    ],
)
def test_mistakes_are_named(fields, inputs, message):
    model = archs.build("graph_network", num_classes=3, **fields)
    with pytest.raises(ValueError, match="^graph_network: .*" + message) as error:
        jax.eval_shape(model.init, jax.random.key(0), INPUTS["nodes"], **inputs)
    assert "\n" not in str(error.value)
