"""Graph networks against PyTorch, in loops over nodes and edges as the papers write them: outputs and gradients."""

import functools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax import numpy as jnp

import archs

torch = pytest.importorskip("torch", reason="PyTorch is the peer; install the extra `peers`")
pytestmark = pytest.mark.slow

FLOAT64 = {"dtype": "float64", "param_dtype": "float64"}
RHO = {"sum": lambda rows: rows.sum(0), "mean": lambda rows: rows.mean(0), "max": lambda rows: rows.amax(0)}


@pytest.fixture(autouse=True)
def _float64():
    """In float32 rounding rectifies some unit the other way, or moves some maximum."""
    with jax.enable_x64(True):
        yield


def dense(params, name, x):
    return x @ params[*name, "kernel"] + params[*name, "bias"]


def perceptron(params, block, target, x):
    """φ: two layers, both rectified."""
    for layer in range(2):
        x = torch.relu(dense(params, (f"block_{block}", f"{target}_{layer}"), x))
    return x


def head(params, x):
    return dense(params, ("head", "dense"), x)


def aggregate(rho, rows, width):
    return RHO[rho](torch.stack(rows)) if rows else torch.zeros(width, dtype=torch.float64)


def full(params, graph, outputs, rho, num_layers=2):
    """Algorithm 1, again and again."""
    e, v, u = graph["edges"], graph["nodes"], graph["globals"]
    ends = list(zip(graph["senders"], graph["receivers"], strict=True))
    for block in range(num_layers):
        e = [
            perceptron(params, block, "edges", torch.cat([e[k], v[receiver], v[sender], u]))
            for k, (sender, receiver) in enumerate(ends)
        ]
        if block == num_layers - 1 and outputs == "edges":
            return head(params, torch.stack(e))
        updated = []
        for i in range(len(v)):
            received = aggregate(rho, [e[k] for k, (_, receiver) in enumerate(ends) if receiver == i], len(e[0]))
            updated.append(perceptron(params, block, "nodes", torch.cat([received, v[i], u])))
        v = updated
        if block == num_layers - 1 and outputs == "nodes":
            return head(params, torch.stack(v))
        whole = torch.cat([aggregate(rho, e, None), aggregate(rho, v, None), u])
        u = perceptron(params, block, "globals", whole)
    return head(params, u)


def interaction(params, graph, outputs, rho):
    """Effects of relations, objects moved by their sum, and a readout of the whole (Battaglia et al., 2016)."""
    objects, effects = graph["nodes"], []
    for attribute, sender, receiver in zip(graph["edges"], graph["senders"], graph["receivers"], strict=True):
        joined = torch.cat([attribute, objects[receiver], objects[sender]])
        effects.append(perceptron(params, 0, "edges", joined))
    moved = []
    for i, thing in enumerate(objects):
        received = [effect for effect, receiver in zip(effects, graph["receivers"], strict=True) if receiver == i]
        joined = torch.cat([aggregate(rho, received, len(effects[0])), thing, graph["globals"]])
        moved.append(perceptron(params, 0, "nodes", joined))
    if outputs == "nodes":
        return head(params, torch.stack(moved))
    return head(params, perceptron(params, 0, "globals", torch.cat([aggregate(rho, moved, None), graph["globals"]])))


def message_passing(params, graph, outputs, rho):
    """Gilmer et al., 2017, eqs. 1 to 3: M reads the edges as they are given, in every step."""
    h = graph["nodes"]
    for step in range(2):
        updated = []
        for i in range(len(h)):
            messages = [
                perceptron(params, step, "edges", torch.cat([attribute, h[receiver], h[sender]]))
                for attribute, sender, receiver in zip(
                    graph["edges"], graph["senders"], graph["receivers"], strict=True
                )
                if receiver == i
            ]
            updated.append(perceptron(params, step, "nodes", torch.cat([aggregate(rho, messages, 6), h[i]])))
        h = updated
    if outputs == "nodes":
        return head(params, torch.stack(h))
    return head(params, perceptron(params, 1, "globals", aggregate(rho, h, None)))


def deep_sets(params, graph, outputs, rho):
    """ρ(Σ φ(x)) (Zaheer et al., 2017)."""
    assert outputs == "globals"
    features = perceptron(params, 0, "nodes", torch.stack(list(graph["nodes"])))
    return head(params, perceptron(params, 0, "globals", RHO[rho](features)))


def gcn(params, graph, outputs, rho):
    """Â relu(Â X W₀ + b₀) W₁ + b₁ with the dense Â (Kipf and Welling, 2016, eqs. 2 and 9)."""
    assert outputs == "nodes" and rho == "sum"
    nodes = torch.stack(list(graph["nodes"]))
    adjacency = torch.eye(len(nodes), dtype=torch.float64)
    for sender, receiver in zip(graph["senders"], graph["receivers"], strict=True):
        adjacency[receiver, sender] += 1
    root = torch.diag(adjacency.sum(1) ** -0.5)
    normalised = root @ adjacency @ root
    x = torch.relu(normalised @ nodes @ params["convolution_0", "kernel"] + params["convolution_0", "bias"])
    return normalised @ x @ params["convolution_1", "kernel"] + params["convolution_1", "bias"]


def random_graphs() -> dict[str, np.ndarray]:
    """Two undirected graphs of 8 and 5 nodes, with an isolated one in each, padded to 9 nodes and 30 edges."""
    rng = np.random.default_rng(0)
    node_mask, edge_mask = np.zeros((2, 9), bool), np.zeros((2, 30), bool)
    ends = np.zeros((2, 2, 30), np.int32)
    for row, size in enumerate((8, 5)):
        one, other = np.nonzero(np.triu(rng.random((size - 1, size - 1)) < 0.5, 1))
        ends[row, :, : 2 * len(one)] = np.stack([[*one, *other], [*other, *one]])
        node_mask[row, :size] = edge_mask[row, : 2 * len(one)] = True
    graphs = {"senders": ends[:, 0], "receivers": ends[:, 1], "node_mask": node_mask, "edge_mask": edge_mask}
    sizes = {"nodes": (9, 5), "edges": (30, 2), "globals": (4,)}
    return graphs | {name: rng.normal(size=(2, *size)) for name, size in sizes.items()}


PEERS = {
    "full": (full, ("edges", "globals")),
    "interaction": (interaction, ("edges", "globals")),
    "message_passing": (message_passing, ("edges",)),
    "deep_sets": (deep_sets, ()),
    "gcn": (gcn, ()),
}
CASES = [
    *[("full", outputs, rho) for outputs in ("edges", "nodes", "globals") for rho in RHO],
    *[(kind, outputs, "sum") for kind in ("interaction", "message_passing") for outputs in ("nodes", "globals")],
    ("message_passing", "globals", "max"),
    ("deep_sets", "globals", "sum"),
    ("deep_sets", "globals", "mean"),
    ("gcn", "nodes", "sum"),
]


@pytest.mark.parametrize("variant, outputs, rho", CASES)
def test_equal_to_pytorch(variant, outputs, rho):
    peer, reads = PEERS[variant]
    own = {"dropout_rate": 0.0} if variant == "gcn" else {"aggregation": rho}
    model = archs.build(
        "graph_network", variant=variant, num_classes=3, hidden_size=6, outputs=outputs, **own, **FLOAT64
    )
    graphs = random_graphs()
    inputs = {key: value for key, value in graphs.items() if key in (*reads, "nodes") or value.dtype != np.float64}
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), **x), inputs)["params"]
    values = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2), shapes)
    masks = {"nodes": graphs["node_mask"], "edges": graphs["edge_mask"]}
    floats = {key: value for key, value in inputs.items() if value.dtype == np.float64}
    place = {key: value.shape[1:2] for key, value in masks.items()}.get(outputs, ())
    weights = rng.normal(size=(2, *place, 3))

    ours = jax.tree.map(jnp.asarray, inputs)

    def loss(params, floats):
        result = model.apply({"params": params}, **ours | floats)
        return (result * weights).sum(), result

    gradients, results = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(values, floats)

    leaf = functools.partial(torch.tensor, requires_grad=True)
    params = {path: leaf(np.asarray(value)) for path, value in flatten_dict(values).items()}
    tensors = {key: leaf(value) for key, value in floats.items()}
    for row in range(2):
        graph = {key: value[row] for key, value in tensors.items()}
        real = {key: [rows[i] for i in np.flatnonzero(masks[key][row])] for key, rows in graph.items() if key in masks}
        ends = {key: inputs[key][row][masks["edges"][row]].tolist() for key in ("senders", "receivers")}
        expected = peer(params, {**graph, **real, **ends}, outputs, rho)
        chosen = masks[outputs][row] if outputs in masks else slice(None)
        close(results[row][chosen], expected.detach().numpy(), f"outputs of graph {row}")
        (expected * torch.tensor(weights[row][chosen])).sum().backward()
    assert len(flatten_dict(gradients[0])) == len(params)
    for path, value in flatten_dict(gradients[0]).items():
        close(value, params[path].grad.numpy(), path)
    for key, value in gradients[1].items():
        close(value, tensors[key].grad.numpy(), key)


def close(actual, expected, name):
    assert expected.dtype == np.float64 and np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=str(name))
