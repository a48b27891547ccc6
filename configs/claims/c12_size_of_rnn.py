"""The size of a recurrent network does not increase with the length of its input.

Parameters at lengths from 8 to 4,096 must be equal for all three cells, and one set of weights must take sequences of
several lengths. A perceptron over the whole sequence must grow by as many weights with every step.
"""

import numpy

SECTION = "Recurrent Neural Networks"
SENTENCE = (
    "the model size does not increase with the size of input, thus enabling the possibility of processing inputs of "
    "any length"
)
LENGTHS = (8, 64, 512, 4096)
WIDTH, HIDDEN = 16, 32


def run(lab):
    networks = {cell: [recurrent(lab, cell, length) for length in LENGTHS] for cell in ("simple", "gru", "lstm")}
    networks["perceptron"] = [perceptron(lab, length) for length in LENGTHS]
    counts = {name: [network.parameters for network in row] for name, row in networks.items()}
    for cell in ("simple", "gru", "lstm"):
        yield lab.equal(f"different sizes of the {cell} network from 8 to 4,096 steps", len(set(counts[cell])), 1)
        yield lab.equal(f"lengths of {len(LENGTHS)} that one {cell} network takes", taken(networks[cell]), len(LENGTHS))
    growth = numpy.diff(counts["perceptron"]) / numpy.diff(LENGTHS)
    for per_step, length in zip(growth, LENGTHS[1:], strict=True):
        yield lab.equal(
            f"weights that a perceptron gains with each step, up to {length:,}", float(per_step), WIDTH * HIDDEN
        )
    rows = [[name, *row] for name, row in counts.items()]
    lab.table("Parameters by length", ("network", *(f"{length:,} steps" for length in LENGTHS)), rows)


def recurrent(lab, cell, length):
    return lab.architecture("rnn", {"sequence": (length, WIDTH)}, num_classes=10, cell=cell, hidden_size=HIDDEN)


def perceptron(lab, length):
    return lab.architecture("mlp", {"features": (length * WIDTH,)}, num_classes=10, hidden_sizes=(HIDDEN,))


def taken(networks):
    """How many of the lengths the weights made for the first of them take."""
    return sum(networks[0].shape_for(one.spec) is not None for one in networks)
