"""Graph networks (Battaglia et al., 2018, https://arxiv.org/abs/1806.01261).

A block updates all edges by the nodes they join, all nodes by the edges they receive, and the graph as a whole by both,
with one function for each and sums between them (Algorithm 1): so numbering nodes or edges anew changes nothing, and
one network reads any graph. Others are blocks that read less (figure 4, sections 4.2.1 and 4.2.3): message passing
(Gilmer et al., 2017, https://arxiv.org/abs/1704.01212), interaction networks (Battaglia et al., 2016,
https://arxiv.org/abs/1612.00222) and Deep Sets, without edges (Zaheer et al., 2017, https://arxiv.org/abs/1703.06114).
In a graph convolutional network (Kipf and Welling, 2016, https://arxiv.org/abs/1609.02907) edges pass on their sender
by a fixed weight; with biases it has 23,063 parameters on Cora, the graph of 2,708 papers.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from archs.layers.activation import ACTIVATIONS, Activation
from archs.layers.fields import Dtype, refuse
from archs.layers.head import Head

Aggregation = Literal["sum", "mean", "max"]
Attributes = dict[str, Array]  # "edges" [B E _], "nodes" [B N _] and "globals" [B _], as far as a graph has them
Operation = Callable[[Array], Array]

TARGETS = ("edges", "nodes", "globals")  # in the order of Algorithm 1


class Wiring(NamedTuple):
    """What the updates of a block read.

    Attributes:
        edges, nodes, globals: What the update of this attribute reads; nothing if there is no such update.
        kept: What the next block finds updated; the rest it finds as the graph came.
    """

    edges: tuple[str, ...]
    nodes: tuple[str, ...]
    globals: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def inner(self) -> tuple[str, ...]:
        """Updates of a block that others follow: of what it keeps, and of edges that its nodes read."""
        read = (*self.kept, "edges") if "edges" in self.nodes else self.kept
        return tuple(target for target in TARGETS if target in read)

    def last(self, outputs: str) -> tuple[str, ...]:
        """Updates of the last block: up to the one that is asked for."""
        return tuple(target for target in TARGETS[: TARGETS.index(outputs) + 1] if getattr(self, target))


# Of interaction networks and message passing, edges and the whole are given: only nodes have a state.
WIRINGS: dict[str, Wiring] = {
    "full": Wiring(
        edges=("edges", "receivers", "senders", "globals"),
        nodes=("edges", "nodes", "globals"),
        globals=("edges", "nodes", "globals"),
        kept=("edges", "nodes", "globals"),
    ),
    "interaction": Wiring(
        edges=("edges", "receivers", "senders"),
        nodes=("edges", "nodes", "globals"),
        globals=("nodes", "globals"),
        kept=("nodes",),
    ),
    "message_passing": Wiring(
        edges=("edges", "receivers", "senders"),
        nodes=("edges", "nodes"),
        globals=("nodes",),
        kept=("nodes",),
    ),
    "deep_sets": Wiring(
        edges=(),
        nodes=("nodes", "globals"),
        globals=("nodes",),
        kept=("nodes", "globals"),
    ),
}


class Structure(NamedTuple):
    """Which nodes an edge joins, and which nodes and edges are real; padding edges join the first node to itself."""

    senders: Int[Array, "B E"]
    receivers: Int[Array, "B E"]
    node_mask: Bool[Array, "B N"]
    edge_mask: Bool[Array, "B E"]


def gather(nodes: Float[Array, "B N D"], indices: Int[Array, "B E"]) -> Float[Array, "B E D"]:
    """Of each edge, the node at its index."""
    return jax.vmap(lambda rows, places: rows[places])(nodes, indices)


def aggregate(
    kind: Aggregation, values: Float[Array, "B M D"], mask: Bool[Array, "B M"], total: Operation, largest: Operation
) -> Float[Array, "B *groups D"]:
    """ρ: the sum, mean or maximum of each group of real values, by how sums and maxima are taken; 0 of an empty group.

    In at least float32: a running sum in bfloat16 stands still once it is 256 times as large as what is added.
    """
    dtype = values.dtype
    values = values.astype(jnp.promote_types(dtype, jnp.float32))
    real = mask[:, :, None]
    count = total(real.astype(values.dtype))
    if kind == "max":
        result = jnp.where(count > 0, largest(jnp.where(real, values, -jnp.inf)), 0)
    else:
        result = total(jnp.where(real, values, 0))
    return (result / jnp.maximum(count, 1) if kind == "mean" else result).astype(dtype)


def of_all(kind: Aggregation, values: Float[Array, "B M D"], mask: Bool[Array, "B M"]) -> Float[Array, "B D"]:
    """ρ over all edges or all nodes of a graph."""
    largest = functools.partial(jnp.max, axis=1, initial=-jnp.inf)
    return aggregate(kind, values, mask, functools.partial(jnp.sum, axis=1), largest)


def of_received(kind: Aggregation, edges: Float[Array, "B E D"], structure: Structure) -> Float[Array, "B N D"]:
    """ρ over the edges that each node receives."""
    num_nodes = structure.node_mask.shape[1]

    def by_receiver(operation: Callable[..., Array]) -> Operation:
        segments = jax.vmap(functools.partial(operation, num_segments=num_nodes))
        return lambda values: segments(values, structure.receivers)

    total, largest = by_receiver(jax.ops.segment_sum), by_receiver(jax.ops.segment_max)
    return aggregate(kind, edges, structure.edge_mask, total, largest)


def read(
    target: str, source: str, graph: Attributes, structure: Structure, aggregation: Aggregation
) -> tuple[Array, Operation]:
    """What the update of `target` reads as `source`, and how it comes to the places that read it."""
    match target, source:
        case "edges", "receivers":
            return graph["nodes"], lambda x: gather(x, structure.receivers)
        case "edges", "senders":
            return graph["nodes"], lambda x: gather(x, structure.senders)
        case "edges" | "nodes", "globals":
            return graph["globals"], lambda x: x[:, None]
        case "nodes", "edges":
            return of_received(aggregation, graph["edges"], structure), lambda x: x
        case "globals", "edges":
            return of_all(aggregation, graph["edges"], structure.edge_mask), lambda x: x
        case "globals", "nodes":
            return of_all(aggregation, graph["nodes"], structure.node_mask), lambda x: x
    return graph[source], lambda x: x


class JoinedDense(nn.Module):
    """A linear map of inputs joined: W [x, y] + b = W₁ x + W₂ y + b.

    Each input is multiplied before it is spread over the places that read it: a node once, not once for each edge.

    Attributes:
        features: Width of the output.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    features: int
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, inputs: Sequence[tuple[Array, Operation]]) -> Float[Array, "B *places features"]:
        widths = [x.shape[-1] for x, _ in inputs]
        shape = (sum(widths), self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        parts = jnp.split(kernel.astype(self.dtype), np.cumsum(widths)[:-1])
        pairs = zip(inputs, parts, strict=True)
        y = functools.reduce(jnp.add, [spread(jnp.dot(x.astype(self.dtype), part)) for (x, spread), part in pairs])
        return y + bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


class Block(nn.Module):
    """Algorithm 1: edges, then nodes, then the whole are updated by a perceptron (φ) of what they read.

    Attributes:
        wiring: What each update reads.
        updates: Which updates there are, in their order.
        hidden_size: Width of each layer of each perceptron.
        num_mlp_layers: Layers of each perceptron, all with the activation.
        aggregation: ρ, wherever many are read as one.
        activation: Nonlinearity.
        dropout_rate: Share of each layer's units dropped in training.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    wiring: Wiring
    updates: tuple[str, ...]
    hidden_size: int
    num_mlp_layers: int
    aggregation: Aggregation
    activation: Activation
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, graph: Attributes, structure: Structure, *, train: bool = False) -> Attributes:
        for target in self.updates:
            given = (*graph, "receivers", "senders")
            sources = [source for source in getattr(self.wiring, target) if source in given]
            inputs = [read(target, source, graph, structure, self.aggregation) for source in sources]
            graph = {**graph, target: self.update(target, inputs, train=train)}
        return graph

    def update(self, target: str, inputs: list[tuple[Array, Operation]], *, train: bool) -> Array:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = JoinedDense(self.hidden_size, **dtypes, name=f"{target}_0")(inputs)
        for layer in range(self.num_mlp_layers):
            if layer:
                x = nn.Dense(self.hidden_size, **dtypes, name=f"{target}_{layer}")(x)
            x = ACTIVATIONS[self.activation](x)
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return x


class Convolution(nn.Module):
    """Â x W + b with Â = D^-½ (A + I) D^-½ (Kipf and Welling, 2016, eq. 2), D the degrees with the loops of I.

    Attributes:
        features: Width of the output.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    features: int
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, nodes: Float[Array, "B N D"], structure: Structure) -> Float[Array, "B N features"]:
        shape = (nodes.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        ones = jnp.ones((*structure.edge_mask.shape, 1))
        scale = lax.rsqrt(1 + of_received("sum", ones, structure)).astype(self.dtype)
        x = scale * jnp.dot(nodes.astype(self.dtype), kernel.astype(self.dtype))
        x = x + of_received("sum", gather(x, structure.senders), structure)
        return scale * x + bias.astype(self.dtype).reshape(1, 1, -1)


class Model(nn.Module):
    """Blocks with their own weights, and a linear head on the edges, the nodes or the whole.

    The first block reads attributes of any width. A graph may lack edge attributes and globals; then no update reads
    them, until a block has made its own. "gcn" is convolutions instead of blocks, of which the last is the head.

    Attributes:
        num_classes: Outputs: classes or regression targets. None returns what the head would read.
        block: What the updates read. "full": everything. "interaction": edges do not read the globals, nor the globals
            edges. "message_passing": likewise, and nobody reads the globals. In both, each block reads the edges as
            they came, and the whole is updated in the last one only. "deep_sets": nodes read the globals, which read
            the nodes, and nobody reads edges. "gcn": edges pass on their sender by its weight in Â.
        hidden_size: Width of all updates.
        num_layers: Blocks or convolutions: steps that a message travels.
        num_mlp_layers: Layers of each update's perceptron; None is 2. Not for "gcn".
        aggregation: How the edges that a node receives, and all edges and nodes for the whole, are read as one; None
            is "sum". All give 0 where there are none. Not for "gcn".
        outputs: What the head reads. Updates that it does not depend on are left out.
        activation: Nonlinearity of the perceptrons, and between convolutions.
        dropout_rate: Share dropped in training: of the units of all layers of perceptrons; with "gcn", of the inputs of
            each convolution, as in the paper.
        dtype: Type of the computation; sums over edges and nodes, and outputs, are at least float32.
        param_dtype: Type of the parameters.
    """

    view: ClassVar[str] = "graph"

    num_classes: int | None
    block: Literal["full", "interaction", "message_passing", "deep_sets", "gcn"] = "full"
    hidden_size: int = 64
    num_layers: int = 2
    num_mlp_layers: int | None = None
    aggregation: Aggregation | None = None
    outputs: Literal["nodes", "edges", "globals"] = "nodes"
    activation: Activation = "relu"
    dropout_rate: float = 0.0
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        nodes: Float[Array, "B N D"],
        senders: Shaped[Array, "B E"] | None = None,
        receivers: Shaped[Array, "B E"] | None = None,
        edges: Float[Array, "B E edge_features"] | None = None,
        globals: Float[Array, "B G"] | None = None,
        node_mask: Bool[Array, "B N"] | None = None,
        edge_mask: Bool[Array, "B E"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B *places outputs"]:
        """Reads one graph per row, padded to N nodes and E edges; returns zeros at padding.

        Args:
            nodes: Attributes of nodes.
            senders: Integers: the node where an edge begins. An undirected edge is two, one in each direction.
            receivers: Integers: the node where it ends, which is updated by it. Only "deep_sets" can do without both,
                and does not look at them.
            edges: Attributes of edges.
            globals: Attributes of the whole.
            node_mask: Which nodes are real; None is all. Whatever stands in the padding changes nothing.
            edge_mask: Which edges are real; None is all. Edges of padding nodes are padding. If one of the others joins
                nodes that are not there, all outputs of its graph are NaN.

        Raises:
            ValueError: Fields contradict each other, one of them or an attribute would do nothing, or edges are missing
                or do not join nodes by integers.
        """
        self.check(senders, receivers, edges, globals)
        structure, valid = self.structure(nodes, senders, receivers, node_mask, edge_mask)
        # What stands in the padding must not reach a gradient either.
        real = jnp.where(structure.node_mask[:, :, None], nodes, 0)
        graph: Attributes = {"nodes": jnp.where(valid[:, None, None], real, jnp.nan).astype(self.dtype)}
        if edges is not None:
            graph["edges"] = jnp.where(structure.edge_mask[:, :, None], edges, 0).astype(self.dtype)
        if globals is not None:
            graph["globals"] = globals.astype(self.dtype)

        x = self.convolutions(graph, structure, train) if self.block == "gcn" else self.blocks(graph, structure, train)
        num_classes = None if self.block == "gcn" else self.num_classes
        x = Head(num_classes, dtype=self.dtype, param_dtype=self.param_dtype, name="head")(x)
        if self.outputs == "globals":
            return x
        mask = structure.node_mask if self.outputs == "nodes" else structure.edge_mask
        return jnp.where(mask[:, :, None], x, 0)

    def blocks(self, graph: Attributes, structure: Structure, train: bool) -> Float[Array, "B *places H"]:
        wiring = WIRINGS[self.block]
        for layer, updates in enumerate(self.updates()):
            updated = Block(
                wiring=wiring,
                updates=updates,
                hidden_size=self.hidden_size,
                num_mlp_layers=self.num_mlp_layers or 2,
                aggregation=self.aggregation or "sum",
                activation=self.activation,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"block_{layer}",
            )(graph, structure, train=train)
            graph = graph | {target: updated[target] for target in wiring.kept if target in updated}
        return updated[self.outputs]

    def convolutions(self, graph: Attributes, structure: Structure, train: bool) -> Float[Array, "B N H"]:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        dropout = nn.Dropout(self.dropout_rate, deterministic=not train)
        x = dropout(graph["nodes"])
        for layer in range(self.num_layers - 1):
            x = Convolution(self.hidden_size, **dtypes, name=f"convolution_{layer}")(x, structure)
            x = dropout(ACTIVATIONS[self.activation](x))
        if self.num_classes is None:
            return x
        return Convolution(self.num_classes, **dtypes, name=f"convolution_{self.num_layers - 1}")(x, structure)

    def updates(self) -> list[tuple[str, ...]]:
        """The updates of each block, each up to what others read of it."""
        wiring = WIRINGS[self.block]
        return [*[wiring.inner] * (self.num_layers - 1), wiring.last(self.outputs)]

    def reads(self) -> set[tuple[str, str]]:
        """Which updates read what, in any block."""
        if self.block == "gcn":
            return set()
        targets = {target for updates in self.updates() for target in updates}
        return {(target, source) for target in targets for source in getattr(WIRINGS[self.block], target)}

    def structure(
        self,
        nodes: Float[Array, "B N D"],
        senders: Int[Array, "B E"] | None,
        receivers: Int[Array, "B E"] | None,
        node_mask: Bool[Array, "B N"] | None,
        edge_mask: Bool[Array, "B E"] | None,
    ) -> tuple[Structure, Bool[Array, " B"]]:
        """What joins what, and whether all real edges of a graph join nodes that are there."""
        batch, num_nodes, _ = nodes.shape
        if node_mask is None:
            node_mask = jnp.ones((batch, num_nodes), bool)
        if self.block == "deep_sets" or senders is None or receivers is None:
            none = jnp.zeros((batch, 0), int)
            return Structure(none, none, node_mask, none.astype(bool)), jnp.ones(batch, bool)
        real = jnp.ones(senders.shape, bool) if edge_mask is None else edge_mask
        valid = jnp.ones(batch, bool)
        for ends in (senders, receivers):
            valid &= (~real | ((ends >= 0) & (ends < num_nodes))).all(axis=1)
        for ends in (senders, receivers):
            real &= jnp.take_along_axis(node_mask, ends, axis=1, mode="clip")
        return Structure(jnp.where(real, senders, 0), jnp.where(real, receivers, 0), node_mask, real), valid

    def check(self, senders: Any, receivers: Any, edges: Any, globals: Any) -> None:
        """Raises ValueError if fields or attributes contradict each other, or one of them would do nothing."""
        block, gcn, ends = f"block={self.block!r}", self.block == "gcn", {"senders": senders, "receivers": receivers}
        wrong = [f"{name} {x.dtype}" for name, x in ends.items() if x is not None and x.dtype.kind not in "iu"]
        allowed = ["nodes"] if gcn else [target for target in TARGETS if getattr(WIRINGS[self.block], target)]
        reads = self.reads()
        problems = {
            f"outputs={self.outputs!r} does not go with {block}; allowed: {', '.join(allowed)}": (
                self.outputs not in allowed
            ),
            f"num_mlp_layers={self.num_mlp_layers} does not go with {block}, which has no perceptrons; leave it out": (
                gcn and self.num_mlp_layers is not None
            ),
            f"aggregation={self.aggregation!r} does nothing for outputs={self.outputs!r} of {block}; leave it out": (
                self.aggregation is not None
                and not reads & {("nodes", "edges"), ("globals", "edges"), ("globals", "nodes")}
            ),
            f"edges have attributes, and {block} does not read them; leave them out or choose another block": (
                edges is not None and ("edges", "edges") not in reads
            ),
            f"globals are given, and outputs={self.outputs!r} of {block} do not read them; leave them out or choose "
            "another block": globals is not None and not any(source == "globals" for _, source in reads),
            f"{block} reads senders and receivers; give both, or choose block='deep_sets'": (
                self.block != "deep_sets" and (senders is None or receivers is None)
            ),
            f"senders and receivers must be integers, which number nodes from 0; given: {', '.join(wrong)}": bool(
                wrong
            ),
        }
        refuse("graph_network", problems)


VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"block": "full"},
    "interaction": {"block": "interaction", "num_layers": 1},
    "message_passing": {"block": "message_passing", "outputs": "globals"},
    "deep_sets": {"block": "deep_sets", "num_layers": 1, "outputs": "globals"},
    "gcn": {"block": "gcn", "hidden_size": 16, "num_layers": 2, "dropout_rate": 0.5},
}
# Cora: 2,708 papers, each a bag of 1,433 words, and 5,278 links between them, in both directions.
EXAMPLE = {
    "nodes": jax.ShapeDtypeStruct((2708, 1433), "float32"),
    "senders": jax.ShapeDtypeStruct((10556,), "int32"),
    "receivers": jax.ShapeDtypeStruct((10556,), "int32"),
}
