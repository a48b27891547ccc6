"""Transformers learn longer dependencies than recurrent networks.

Ten tokens are to be copied after a gap of 16, 32 or 64 steps (Hochreiter and Schmidhuber, 1997; Arjovsky et al., 2016):
each gap is a task of its own. A Transformer of two causal layers meets GRU and LSTM of as many parameters, with equal
settings. A gap is solved if 95 % of the tokens come back. The largest gap that attention solves must be longer than
that of either recurrent network in at least 4 of 5 seeds. What a plain recurrent network lacks against a GRU is C23.

The number of updates, 800 of 32 examples, was chosen with seed 100 for attention to solve the gap of 32; at 64 it needs
more. Whether a recurrent network would learn the task with many more updates is not asked.

Shown beside is how each does at twice the gap that it was trained on. Positions are learned, and those beyond the
training length are still as they were at the start, so the Transformer should fail there: its range is that of its
training.

At the full scale gaps reach 1,000, where GRU and LSTM are at chance in Bai et al. (2018), and an LSTM of as many
parameters meets the Transformer on ListOps of the Long Range Arena, where Tay et al. (2020) print 36.37 % for the
latter.
"""

SECTION = "Benefits of Transformers Compared to RNNs/GRUs/LSTMs"
SENTENCE = "The Transformer can learn longer-range dependencies than RNN and its variants such as GRUs and LSTMs."
NETWORKS = ("attention", "gru", "lstm")
RECURRENT = {"gru": "GRU", "lstm": "LSTM"}
GAPS = {"small": (16, 32, 64), "full": (64, 250, 1000)}
SOLVED = 0.95
SYMBOLS = 10


def run(lab):
    largest = {name: dict.fromkeys(lab.seeds, 0) for name in NETWORKS}
    rows, lines = [], {name: {} for name in NETWORKS}
    for gap in GAPS[lab.scale]:
        study = trained(lab, gap)
        for name in NETWORKS:
            recall = recalled(study, name, "test", gap)
            longer = recalled(study, name, "longer", 2 * gap)
            lines[name][gap] = list(recall.values())
            largest[name] |= {seed: gap for seed, share in recall.items() if share >= SOLVED}
            rows.append([gap, name, percent(recall.values()), solved(recall), percent(longer.values()), solved(longer)])
    header = ("gap", "network", "tokens recalled", "seeds that solve it", "at twice the gap", "seeds that solve that")
    lab.table("Tokens recalled, mean over seeds; chance is 12.5 %", header, rows)
    lab.lines("Tokens recalled", "gap", lines, percent=True, log="x", chance=1 / 8)
    count = len(lab.seeds)
    for name, title in RECURRENT.items():
        ahead = sum(largest["attention"][seed] > largest[name][seed] for seed in lab.seeds)
        what = f"seeds of {count} in which attention solves no longer gap than the {title}"
        yield lab.below(what, count - ahead, count // 5)
    header = ("network", *(f"seed {seed}" for seed in lab.seeds))
    lab.table("Largest gap solved", header, [[name, *largest[name].values()] for name in NETWORKS])
    if lab.scale == "full":
        yield from listops(lab)


def trained(lab, gap):
    settings = {name: (f"data.source.blanks={gap}", f"data.source.longer_blanks={2 * gap}") for name in NETWORKS}
    if lab.scale == "full":
        settings = {name: (*settings[name], "steps=20000", "data.batch_size=64") for name in NETWORKS}
        settings["attention"] += (f"model.max_length={2 * gap + 2 * SYMBOLS}",)
    variants = {name: lab.load(f"configs/memory.py:gap_{name}", *settings[name]) for name in NETWORKS}
    return lab.train(f"gap of {gap}", variants, axis=("model",), match="parameters", reference="attention")


def recalled(study, name, split, gap):
    """The share of the symbols that are right, by seed, from that of all steps: the blanks before them are easy."""
    steps = gap + 2 * SYMBOLS
    accuracies = study.values(f"{split}/accuracy", name)
    return {seed: max(0.0, 1 - (1 - accuracy) * steps / SYMBOLS) for seed, accuracy in accuracies.items()}


def percent(shares):
    return f"{100 * sum(shares) / len(shares):.1f} %"


def solved(recall):
    return f"{sum(share >= SOLVED for share in recall.values())} of {len(recall)}"


def listops(lab):
    """What is printed of the Transformer, within 2 points, and how far it is ahead of an LSTM."""
    variants = {
        "attention": lab.load("configs/lra.py:listops"),
        "lstm": lab.load("configs/lra.py:listops", "model.name=rnn", "model.variant=lstm", "model.hidden_size=512"),
    }
    study = lab.train("ListOps", variants, axis=("model",), match="parameters", reference="attention")
    accuracies = [100 * value for value in study.values("test/accuracy", "attention").values()]
    yield lab.near("accuracy of the Transformer on ListOps", sum(accuracies) / len(accuracies), 36.37, 2, "paper")
    gaps = [100 * value for value in lab.differences(study, "test/accuracy", "attention", "lstm")]
    yield lab.exceeds("accuracy on ListOps, Transformer less LSTM", gaps, 0, " points")
