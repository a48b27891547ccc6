"""A memory cell keeps its value for as long as the input says.

With its forget gate open and its input gate shut by biases of ±30, an LSTM's memory must stay the same to 10⁻⁶ over
1,000 steps of noise. Where the input works the gates the other way, at step 501, the memory must change, and then stay
as it has become.
"""

import numpy

SECTION = "Long-Short Term Memory (LSTM) Cells"
SENTENCE = "This memory cell retains its value for a short or long time as a function of its input."
STEPS, SIGNAL = 1000, 500
INPUT_GATE, FORGET_GATE = 0, 1


def run(lab):
    network = lab.recurrence("lstm", steps=STEPS, input_size=8, hidden_size=16)
    variables, inputs = gated(network), network.example()
    inputs["sequence"][..., 0] = 0  # The feature that works the gates.
    kept = memory(network, variables, inputs)
    first = inputs["state"][0, 0]
    yield lab.below("change of the memory in 1,000 steps that keep it", drift(kept, first), 1e-6)

    inputs["sequence"][0, SIGNAL, 0] = 1
    written = memory(network, variables, inputs)
    yield lab.below("change of the memory before the input says so", drift(written[:SIGNAL], first), 1e-6)
    yield lab.above("change of the memory when the input says so", drift(written[SIGNAL:], first), 1e-6)
    yield lab.below("change of the memory afterwards", drift(written[SIGNAL:], written[SIGNAL]), 1e-6)
    changes = [[step, drift(kept[:step], first), drift(written[:step], first)] for step in (1, 10, 100, 500, 501, 1000)]
    lab.table("Greatest change so far", ("steps", "kept", "written at step 501"), changes)


def gated(network):
    """Random weights, but for a first input that works the gates: at 0 the memory is kept, at 1 it is replaced."""
    draw = numpy.random.default_rng(0)
    layer = {path.removeprefix("layer/"): draw.normal(0, 0.3, shape) for path, shape in network.tree.items()}
    layer["bias"][INPUT_GATE], layer["bias"][FORGET_GATE] = -30, 30
    layer["input_kernel"][0, INPUT_GATE], layer["input_kernel"][0, FORGET_GATE] = 60, -60
    return {"params": {"layer": layer}}


def memory(network, variables, inputs):
    """The memory after each step, [T, H]."""
    return network.apply(variables, **inputs)[0, :, 0]


def drift(values, reference):
    return float(abs(values - reference).max())
