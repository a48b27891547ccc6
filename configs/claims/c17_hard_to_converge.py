"""Recurrent networks are sometimes hard to bring to converge, since gradients explode.

If exploding gradients are what keeps a plain (tanh) network from converging, then scaling down the large ones must
help: Pascanu et al. (2013) proposed that. The network learns to add two numbers of 100 by stochastic gradient descent,
as in their paper, with and without clipping the gradient's norm at 1, at four learning rates about the one where
divergence begins. The sentence fails if as many runs diverge, that is, meet a number that is not finite, with clipping
as without. It also fails if over 10 steps instead of 100, with all else equal, no fewer runs diverge without clipping:
gradients explode with the length, but any network diverges at too high a rate. Amended, clipping helps, whatever it is
good for.

Shown beside are runs with Adam, which scales gradients by itself, and how large gradients become.

At the full scale the numbers stand 600 steps apart, and MNIST by pixels is read (configs/sequential_mnist.py), where
Bai et al. (2018) print an accuracy of 21.5 % for the plain network, 87.2 % for the LSTM and 96.2 % for the GRU.
"""

import numpy

SECTION = "Recurrent Neural Networks"
SENTENCE = (
    "Another pitfall we with RNNs is that they are slow to train (due to sequential processing of each token) and "
    "sometimes difficult to converge (due to vanishing/exploding gradients)."
)
PRINTED = {"simple": 21.5, "gru": 96.2, "lstm": 87.2}
RATES = (0.02, 0.04, 0.08, 0.16)  # Divergence began between 0.03 and 0.1 with seed 100.
CLIP_NORM = {"clipped": 1.0, "free": None}
DESCENT = (
    "optimizer.name=sgd",
    "optimizer.schedule.name=constant",
    "optimizer.schedule.warmup_steps=0",
    "log_every=10",
)


def run(lab):
    length, steps = (600, 4000) if lab.scale == "full" else (100, 400)
    long, short = descent(lab, length, steps), descent(lab, 10, steps)
    clipped, free, control = diverged(long, "clipped"), diverged(long, "free"), diverged(short, "free")
    total = len(RATES) * len(lab.seeds)
    yield lab.above(f"runs of {total} that diverge, without clipping less with", free - clipped, 0)
    yield lab.above("runs that diverge, without clipping less with", free - clipped, 0, "amended")
    yield lab.above(
        f"runs of {total} that diverge without clipping, over {length} steps less over 10", free - control, 0
    )
    rows = [[over, *row] for over, study in ((length, long), (10, short)) for row in described(study)]
    header = ("steps", "rate and gradients", "runs that diverge", "largest gradient", "median gradient")
    lab.table("Stochastic gradient descent", header, rows)
    with_adam(lab)
    if lab.scale == "full":
        yield from as_printed(lab)


def descent(lab, length, steps):
    """The plain network at all rates, with and without clipping."""
    settings = (*DESCENT, f"data.source.length={length}", f"steps={steps}", f"evaluators.loss.every={steps}")
    variants = {
        f"{rate} {kind}": lab.load(
            "configs/memory.py:adding_simple",
            *settings,
            f"optimizer.learning_rate={rate}",
            f"optimizer.clip_norm={norm}",
        )
        for rate in RATES
        for kind, norm in CLIP_NORM.items()
    }
    axis = ("optimizer.learning_rate", "optimizer.clip_norm")
    return lab.train(f"descent over {length} steps", variants, axis=axis, may_diverge=True)


def diverged(study, kind):
    return sum(run.diverged for run in study.runs if run.variant.endswith(kind))


def described(study):
    """Of each variant, how many runs diverged and how large gradients were."""
    for variant in study.variants:
        runs = [run for run in study.runs if run.variant == variant]
        yield [variant, sum(run.diverged for run in runs), *gradients(runs)]


def gradients(runs):
    """The largest mean norm over 10 or 50 updates, and the median: before clipping, and until a run diverged."""
    norms = [norm for run in runs for norm in run.curve("train/gradient_norm").values()]
    return [max(norms), float(numpy.median(norms))] if norms else ["none logged"] * 2


def with_adam(lab):
    """Shows how the plain network fares with Adam, beside the gated ones; those runs are those of C23 and C22."""
    variants = {cell: lab.load(f"configs/memory.py:adding_{cell}") for cell in ("gru", "lstm", "simple")}
    variants["simple, free"] = lab.load("configs/memory.py:adding_simple", "optimizer.clip_norm=None")
    axis = ("model", "optimizer.clip_norm")
    study = lab.train("Adam", variants, axis=axis, match="parameters", reference="gru", may_diverge=True)
    rows = []
    for variant in study.variants:
        runs = [run for run in study.runs if run.variant == variant]
        losses = list(study.values("test/loss", variant).values())
        mean = sum(losses) / len(losses) if losses else "none finished"
        rows.append([variant, sum(run.diverged for run in runs), mean, *gradients(runs)])
    header = ("network", "runs that diverge", "test loss, mean", "largest gradient", "median gradient")
    lab.table("Adam over 100 steps; chance is 0.1667", header, rows)


def as_printed(lab):
    """Checks of what Bai et al. print, within 5 points."""
    variants = {cell: lab.load(f"configs/sequential_mnist.py:{cell}") for cell in PRINTED}
    study = lab.train("MNIST by pixels", variants, axis=("model",), may_diverge=True)
    for cell, printed in PRINTED.items():
        accuracies = [100 * value for value in study.values("test/accuracy", cell).values()]
        yield lab.near(f"accuracy on MNIST by pixels, {cell}", float(numpy.mean(accuracies)), printed, 5, "paper")
