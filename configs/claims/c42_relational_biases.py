"""Every architecture has an inductive bias: CNNs repeat in space, RNNs in time, graph networks over nodes and edges.

Battaglia et al. (2018, Table 1) give fully connected layers none, convolution translation in space, recurrence
translation in time, and graph networks permutation of nodes and edges. Each means that a network and a change of its
input commute: what comes out of the changed input is what came out before, changed likewise. Measured on fresh weights
as the largest deviation over the largest output: at most 10⁻⁵ where the table says so. It must be above 10⁻² where it
does not: for fully connected layers, and for attention that is given positions. That attention without positions
commutes with permutations is no row of the table; it is our addition.

That attention takes whatever is made into tokens is what lets it fuse senses. Trained is a network that sees a digit
and hears it, each of the two lost in noise three times in ten, with cross-attention from what is seen to what is heard,
against networks of the same blocks that see only or hear only: it must be ahead of the better of these. At the full
scale the sounds are recordings, and a network of as many parameters that joins what each sense has made of its input
is trained as well.
"""

import numpy as np

SECTION = "Inductive Biases of Standard Neural Architectures"
SENTENCE = (
    "CNNs exhibit spatial parameter sharing, translational/spatial invariance, while RNNs exhibit temporal parameter "
    "sharing. … Relational inductive biases, deep learning, and graph networks … summarized in the table below … "
    "With cross-attention where the query, key and value vectors are derived from different sources, transformers are "
    "able to lend themselves as a powerful tool for multimodal learning."
)
PLACES, WIDTH = 12, 16
SHIFT = 3
ORDER = np.random.default_rng(0).permutation(PLACES)
NONE = "–"


def run(lab):
    convolution = space(lab)
    connected = fully_connected(lab)
    recurrence = time(lab)
    graph = nodes_and_edges(lab)
    attention = {positions: set_of_words(lab, positions) for positions in ("none", "sinusoidal", "learned")}

    yield lab.below("convolution and a shift in space", convolution["shift"], 1e-5)
    yield lab.below("recurrence and a shift in time", recurrence["shift"], 1e-5)
    yield lab.below("graph network and a permutation of nodes", graph["nodes"], 1e-5)
    yield lab.below("graph network and a permutation of edges", graph["edges"], 1e-5)
    yield lab.below("attention without positions and a permutation", attention["none"], 1e-5)
    yield lab.above("fully connected layers and a shift", connected["shift"], 1e-2)
    yield lab.above("fully connected layers and a permutation", connected["permutation"], 1e-2)
    yield lab.above("attention with sinusoidal positions and a permutation", attention["sinusoidal"], 1e-2)
    yield lab.above("attention with learned positions and a permutation", attention["learned"], 1e-2)
    lab.table(
        "Deviation from commuting, over the largest output",
        ("", "shift", "permutation"),
        [
            ["fully connected", connected["shift"], connected["permutation"]],
            ["convolution", convolution["shift"], convolution["permutation"]],
            ["recurrence", recurrence["shift"], recurrence["permutation"]],
            ["graph network, nodes", NONE, graph["nodes"]],
            ["graph network, edges", NONE, graph["edges"]],
            ["attention without positions", NONE, attention["none"]],
            ["attention with sinusoids", NONE, attention["sinusoidal"]],
            ["attention with learned positions", NONE, attention["learned"]],
        ],
    )
    yield from senses(lab)


def senses(lab):
    """Checks that a network with cross-attention gains by having more senses than one."""
    data = "" if lab.scale == "full" else ":embedded"
    names = ("cross_attention", "image", "audio")
    variants = {name: lab.load(f"configs/fusion_digits.py:{name}{data}") for name in names}
    study = lab.train("a digit seen and heard", variants, axis=("model", "data.source.modalities"))
    found = {name: study.values("test/accuracy", name) for name in names}
    best = {seed: max(found["image"][seed], found["audio"][seed]) for seed in found["image"]}
    gains = [100 * (found["cross_attention"][seed] - best[seed]) for seed in best]
    yield lab.exceeds("accuracy of cross-attention less that of the better single sense", gains, 0, " points")
    if lab.scale == "full":
        pair = {name: lab.load(f"configs/fusion_digits.py:{name}{data}") for name in ("cross_attention", "concat")}
        study = lab.train("ways to fuse", pair, axis=("model.fusion",), match="parameters")
        ahead = [100 * value for value in lab.differences(study, "test/accuracy", "cross_attention", "concat")]
        yield lab.exceeds("accuracy of cross-attention less that of joined features", ahead, 0, " points", "amended")


def deviation(changed, expected):
    """Between what came out of the changed input and what came out before, changed likewise."""
    return float(np.abs(changed - expected).max() / np.abs(expected).max())


def space(lab):
    """A convolution that goes around the edges, over a picture; the permutation is of its rows."""
    layer = lab.layer("Conv", (PLACES, PLACES, WIDTH), features=WIDTH, kernel_size=(3, 3), padding="CIRCULAR")
    variables, image = layer.variables(), layer.example()["inputs"]
    before = layer.apply(variables, inputs=image)

    def change(move):
        return deviation(layer.apply(variables, inputs=move(image)), move(before))

    return {
        "shift": change(lambda x: np.roll(x, (SHIFT, -SHIFT), axis=(1, 2))),
        "permutation": change(lambda x: x[:, ORDER]),
    }


def fully_connected(lab):
    """A perceptron from as many numbers as it puts out."""
    perceptron = lab.architecture("mlp", {"features": (PLACES,)}, num_classes=PLACES, hidden_sizes=(64,))
    variables, features = perceptron.variables(), perceptron.example()["features"]
    before = perceptron.apply(variables, features=features)

    def change(move):
        return deviation(perceptron.apply(variables, features=move(features)), move(before))

    return {"shift": change(lambda x: np.roll(x, SHIFT, axis=1)), "permutation": change(lambda x: x[:, ORDER])}


def time(lab):
    """An LSTM that starts later: of fresh weights, zeros before the beginning leave its state at zero."""
    network = lab.architecture("rnn", {"sequence": (PLACES, WIDTH)}, num_classes=None, outputs="all", hidden_size=WIDTH)
    variables, sequence = network.variables(), network.example()["sequence"]
    before = network.apply(variables, sequence=sequence)

    def change(move):
        return deviation(network.apply(variables, sequence=move(sequence)), move(before))

    return {
        "shift": change(lambda x: np.pad(x, ((0, 0), (SHIFT, 0), (0, 0)))[:, :PLACES]),
        "permutation": change(lambda x: x[:, ORDER]),
    }


def nodes_and_edges(lab):
    """A graph network, its nodes numbered anew, and its edges."""
    edges = 3 * PLACES
    network = lab.architecture(
        "graph_network",
        {"nodes": (PLACES, WIDTH), "senders": (edges,), "receivers": (edges,)},
        num_classes=None,
        hidden_size=WIDTH,
    )
    variables, graph = network.variables(), network.example(high=PLACES)
    before = network.apply(variables, **graph)
    ends = ("senders", "receivers")
    place_of = np.argsort(ORDER).astype("int32")  # where a node has come to
    renumbered = {"nodes": graph["nodes"][:, ORDER]} | {end: place_of[graph[end]] for end in ends}
    order = np.random.default_rng(1).permutation(edges)
    listed_anew = graph | {end: graph[end][:, order] for end in ends}
    return {
        "nodes": deviation(network.apply(variables, **renumbered), before[:, ORDER]),
        "edges": deviation(network.apply(variables, **listed_anew), before),
    }


def set_of_words(lab, positions):
    """What two layers of a Transformer encoder make of each word, the words in another order."""
    encoder = lab.architecture(
        "encoder",
        {"tokens": (PLACES,)},
        vocab_size=50,
        num_classes=2,
        hidden_size=WIDTH,
        num_layers=2,
        num_heads=4,
        mlp_size=2 * WIDTH,
        max_length=PLACES,
        pool="mean",
        positions=positions,
    )
    variables, tokens = encoder.variables(), encoder.example(high=50)["tokens"]
    before = encoder.inside(variables, "encoder/blocks", tokens=tokens)
    after = encoder.inside(variables, "encoder/blocks", tokens=tokens[:, ORDER])
    return deviation(after, before[:, ORDER])
