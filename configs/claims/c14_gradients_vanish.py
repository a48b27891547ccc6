"""Gradients vanish in recurrent networks.

Measured is the largest factor by which the state after T steps depends on the first, the norm of ∂h(T)/∂h(0), and the
slope of its logarithm over 64 steps. The recurrent weights are an orthogonal matrix times ρ, the inputs noise. With
tanh no step can grow what it passes by more than ρ: at 0.8 and 0.9 the slope must be at most ln ρ + 0.02. Whether a
gradient must vanish depends on ρ: at rest, where tanh is linear, it must grow at ρ = 1.1, and do neither at 1.

Pascanu et al. (2013) derive the condition: ρ below 1 suffices for vanishing, above 1 is necessary for explosion.

At the full scale a plain network learns to add two numbers that stand up to 600 steps apart (configs/adding.py), where
it must stay at chance in each seed, a loss of 0.1667, to 0.02. Its matrix begins orthogonal, at ρ = 1.
"""

import math

import numpy

SECTION = "Recurrent Neural Networks"
SENTENCE = "However, RNNs suffer from a vanishing gradient problem. The gradient becomes small"
STEPS = 64
RADII = (0.8, 0.9, 1.0, 1.1)


def run(lab):
    network = lab.recurrence("simple", steps=STEPS, input_size=16, hidden_size=32)
    norms = {(rho, where): norms_of(network, rho, where) for rho in RADII for where in (1.0, 0.0)}
    slopes = {key: slope(by_seed) for key, by_seed in norms.items()}
    for rho in (0.8, 0.9):
        yield lab.below(f"slope of the gradient's logarithm, ρ = {rho}", slopes[rho, 1.0], math.log(rho) + 0.02)
        yield lab.below(f"slope at rest, ρ = {rho}", slopes[rho, 0.0], math.log(rho) + 0.02)
    yield lab.above("slope at rest, where the network is linear, ρ = 1.1", slopes[1.1, 0.0], 0, "amended")
    yield lab.below("distance of the slope at rest from nothing, ρ = 1", abs(slopes[1.0, 0.0]), 1e-3, "amended")
    rows = [[rho, math.log(rho), slopes[rho, 1.0], slopes[rho, 0.0]] for rho in RADII]
    lab.table("Slope of the gradient's logarithm", ("ρ", "ln ρ", "inputs of noise", "at rest"), rows)
    for where, title in ((1.0, "Gradient by its way through time"), (0.0, "Gradient by its way, at rest")):
        lines = {f"ρ = {rho}": dict(enumerate(zip(*norms[rho, where], strict=True), 1)) for rho in RADII}
        lab.lines(title, "steps between the states", lines, log="y")
    if lab.scale == "full":
        yield from at_full_scale(lab)


def at_full_scale(lab):
    """Checks that a plain network does not learn what takes a long memory."""
    variants = {"simple": lab.load("configs/adding.py:simple", "data.source.length=600")}
    study = lab.train("adding two numbers of 600", variants, axis=())
    for seed, loss in study.values("test/loss", "simple").items():
        yield lab.near(f"loss of a plain network over 600 steps, seed {seed}", loss, 1 / 6, 0.02)


def slope(by_seed):
    """Of the logarithm of the gradient's norm, by step; the mean over seeds."""
    return float(numpy.mean([numpy.polyfit(range(1, STEPS + 1), numpy.log(norms), 1)[0] for norms in by_seed]))


def norms_of(network, rho, size):
    """Of the gradient after each number of steps, for 3 seeds, with first state and inputs of a size."""
    return [norms_of_seed(network, rho, size, seed) for seed in range(3)]


def norms_of_seed(network, rho, size, seed):
    variables = network.variables(seed)
    variables["params"]["layer"]["hidden_kernel"] *= rho  # It begins as an orthogonal matrix.
    inputs = {name: size * value for name, value in network.example(seed).items()}
    gradients = network.jacobian(variables, **inputs)[:, 0, :, 0]
    return [numpy.linalg.norm(gradient, 2) for gradient in gradients]
