"""GRU and LSTM solve the vanishing gradient problem.

With all other weights zero, what the state after T steps keeps of the first is the power T of the gate that keeps it:
the slope of the gradient's logarithm must be ln σ(b), b being the gate's bias, to 10⁻³: -0.693 at 0, -0.313 at 1 and
-0.049 at 3. To the letter, a solution would be a slope of zero (to 10⁻³); but a gate that is not wholly open makes the
gradient vanish too, if slowly. Amended, they mitigate: with the same noise as input, fresh networks of either kind must
pass gradients on better than a simple one does.

At the full scale both are to copy ten symbols after 1,000 steps, with the settings of Bai et al. (2018), who print
losses of 0.0197 and 0.0204, what guessing comes to. If they are at chance here too, to 0.001, nothing is solved.
"""

import math

import numpy

SECTION = "Vanishing Gradient Problem Solutions"
SENTENCE = (
    "Both Gated Recurrent Units (GRU) and Long Short-Term Memory units (LSTM) provide a solution to the vanishing "
    "gradient problem that RNNs experience."
)
STEPS = 64
KEEPS = {"lstm": 1, "gru": 1}  # Which gate keeps the state: of i, f, g, o the second, of r, z, n the second.
SLOPES = {0: -0.693, 1: -0.313, 3: -0.049}
CHANCE = 10 * math.log(8) / 1020


def run(lab):
    networks = {cell: lab.recurrence(cell, STEPS, input_size=16, hidden_size=32) for cell in ("simple", "gru", "lstm")}
    rows = []
    for cell, gate in KEEPS.items():
        for bias, wanted in SLOPES.items():
            found = slope(networks[cell], gate_alone(networks[cell], gate, bias))
            yield lab.above(f"slope of the gradient's logarithm, {cell}, bias {bias}", found, -1e-3)
            yield lab.near(f"slope of the gradient's logarithm, {cell}, bias {bias}", found, wanted, 1e-3, "paper")
            rows.append([f"{cell}, keeping gate alone, bias {bias}", math.log(1 / (1 + math.exp(-bias))), found])
    fresh = {cell: fresh_slope(network) for cell, network in networks.items()}
    for cell in KEEPS:
        yield lab.above(
            f"slope of a fresh {cell} less that of a simple one", fresh[cell] - fresh["simple"], 0, "amended"
        )
    rows += [[f"{cell}, fresh", "", found] for cell, found in fresh.items()]
    lab.table("Slope of the gradient's logarithm by step", ("network", "ln σ(b)", "measured"), rows)
    if lab.scale == "full":
        yield from at_full_scale(lab)


def at_full_scale(lab):
    """Checks of copying after 1,000 steps; these runs are some of C13's."""
    settings = ("data.source.blanks=1000", "steps=10000", "evaluators.accuracy.every=1000")
    variants = {cell: lab.load(f"configs/copy_memory.py:{cell}", *settings) for cell in KEEPS}
    study = lab.train("copying after 1,000 steps", variants, axis=("model",))
    for cell in KEEPS:
        for seed, loss in study.values("test/loss", cell).items():
            yield lab.below(f"loss of the {cell} after 1,000 steps, seed {seed}", loss, CHANCE / 2)
            yield lab.near(f"loss of the {cell} after 1,000 steps, seed {seed}", loss, CHANCE, 1e-3, "paper")


def gate_alone(network, gate, bias):
    """Weights that are all zero but for the bias of one gate."""
    layer = {path.removeprefix("layer/"): numpy.zeros(shape) for path, shape in network.tree.items()}
    layer["bias"][gate] = bias
    return {"params": {"layer": layer}}


def fresh_slope(network):
    """The mean of 3 seeds."""
    return float(numpy.mean([slope(network, network.variables(seed), seed) for seed in range(3)]))


def slope(network, variables, seed=0):
    """Of the logarithm of the norm of ∂c(T)/∂c(0), by step; c is the state that is kept, the LSTM's memory."""
    gradients = network.jacobian(variables, **network.example(seed))[:, 0, :, 0]
    norms = [numpy.linalg.norm(gradient, 2) for gradient in gradients]
    return float(numpy.polyfit(range(1, STEPS + 1), numpy.log(norms), 1)[0])
