"""A GRU has two gates and no output gate, an LSTM has three gates.

The weights show how many vectors a cell computes in each step; one of them is the candidate for the new state, the
others are gates. An output gate is one that, shut by its bias, empties the output and leaves the memory: the LSTM must
have one, the GRU, whose output is its memory, none.
"""

import numpy

SECTION = "Gated Recurrent Units (GRU)"
SENTENCE = (
    "GRUs have two gates, update and reset … Note that they're missing the output gate present in LSTMs. … The LSTM "
    "memory cell contains three gates"
)
GATES = {"simple": 0, "gru": 2, "lstm": 3}


def run(lab):
    rows = []
    for cell, wanted in GATES.items():
        network = lab.recurrence(cell, steps=8, input_size=4, hidden_size=8)
        vectors = network.tree["layer/hidden_kernel"][1]
        yield lab.equal(f"gates of the {cell} cell", vectors - 1, wanted)
        output_gates = sum(shuts_output(network, gate) for gate in range(vectors))
        yield lab.equal(f"output gates of the {cell} cell", output_gates, int(cell == "lstm"))
        rows.append([cell, vectors, vectors - 1, output_gates])
    lab.table("Cells", ("cell", "vectors computed in a step", "gates", "output gates"), rows)


def shuts_output(network, gate):
    """Whether the output is empty and the memory is not, once the bias of a gate shuts it."""
    draw = numpy.random.default_rng(0)
    layer = {path.removeprefix("layer/"): draw.normal(0, 0.3, shape) for path, shape in network.tree.items()}
    layer["bias"][gate] = -30
    last = network.apply({"params": {"layer": layer}}, **network.example())[0, -1]
    memory, output = last[0], last[-1]
    return abs(output).max() < 1e-6 < abs(memory).min()
