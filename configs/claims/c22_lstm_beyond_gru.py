"""LSTMs capture longer dependencies than GRUs.

Three tasks of memory, with as many parameters and equal settings: the sum of two numbers among 100 and ten symbols to
be copied after 30 steps, where the lower test loss is ahead; and strings aⁿbⁿ, trained with n up to 20 and tested up to
60, where the larger n is, up to which every string is predicted without an error. The LSTM must be ahead in at least 4
of 5 seeds on at least two of the three: with the forget gate's bias at 0, and at 1, which Jozefowicz et al. (2015)
found to close the gap to the GRU. Amended, at 1 alone. Who is ahead counts even where both are near chance, as they may
be in copying: no network was given more updates for that.

Bai et al. (2018) print losses of 0.164 and 5.3e-5 of LSTM and GRU for the sum of two among 600, and accuracies of 87.2
and 96.2 % on MNIST by pixels: the other way round. Weiss et al. (2018) argue that an LSTM can count and a GRU cannot.
At the full scale four of the tasks of Bai et al. are learned, two of which need data (configs/sequential_mnist.py), by
each network at three learning rates, of which the loss on the validation split chooses one.
"""

SECTION = "Cons of GRUs Compared to LSTMs and RNNs"
SENTENCE = "Typically cannot capture longer range dependencies than LSTMs."
NETWORKS = {"gru": ("gru", ()), "lstm, bias 0": ("lstm", ("model.forget_bias=0.0",)), "lstm, bias 1": ("lstm", ())}
LSTMS = ("lstm, bias 0", "lstm, bias 1")
# Of each task the config, its settings, and the metric that decides.
SMALL = {
    "adding two of 100": ("configs/memory.py:adding_{}", (), "test/loss"),
    "copying after 30 steps": ("configs/memory.py:copy_{}", ("data.source.blanks=30",), "test/loss"),
    "counting beyond 20": ("configs/memory.py:counting_{}", (), "test/longest_solved"),
}
LONG = ("steps=10000", "data.batch_size=64")
PIXELS = ("data.validation_fraction=0.1",)
FULL = {
    "adding two of 600": ("configs/memory.py:adding_{}", ("data.source.length=600", *LONG), "test/loss"),
    "copying after 1,000 steps": ("configs/memory.py:copy_{}", ("data.source.blanks=1000", *LONG), "test/loss"),
    "MNIST by pixels": ("configs/sequential_mnist.py:{}", PIXELS, "test/accuracy"),
    "permuted MNIST": ("configs/sequential_mnist.py:{}_permuted", PIXELS, "test/accuracy"),
}
RATES = ("5e-4", "1e-3", "2e-3")


def run(lab):
    tasks = FULL if lab.scale == "full" else SMALL
    won, rows = {name: 0 for name in LSTMS}, []
    for title, (path, settings, metric) in tasks.items():
        rates = chosen_rates(lab, title, path, settings) if lab.scale == "full" else {}
        study = trained(lab, title, path, settings, rates)
        for name in LSTMS:
            gains = ahead(lab, study, metric, name)
            won[name] += sum(gain > 0 for gain in gains) >= len(gains) - len(gains) // 5
            difference = lab.exceeds("", gains, 0).measured
            rows.append([title, name, f"{sum(gain > 0 for gain in gains)} of {len(gains)}", difference])
            if lab.scale == "full" and title != "copying after 1,000 steps":
                behind = [-gain for gain in gains]
                yield lab.exceeds(f"{title}: how far the {name} is behind the GRU", behind, 0, reading="paper")
    header = ("task", "network", "seeds in which it is ahead of the GRU", "how far it is ahead, mean and 95 % interval")
    lab.table("LSTM against GRU, in loss, in n or in accuracy", header, rows)
    for name, count in won.items():
        yield lab.above(f"tasks of {len(tasks)} on which the {name} is ahead in 4 of 5 seeds", count, 1)
    yield lab.above("tasks on which an LSTM is, if its bias is 1", won["lstm, bias 1"], 1, "amended")


def trained(lab, title, path, settings, rates):
    """All networks, at the rates that were chosen for them, if there was a choice."""
    variants = {
        name: lab.load(
            path.format(cell), *settings, *own, *(f"optimizer.learning_rate={rate}" for rate in rates.get(name, ()))
        )
        for name, (cell, own) in NETWORKS.items()
    }
    axis = ("model", "optimizer.learning_rate") if rates else ("model",)
    return lab.train(title, variants, axis=axis, match="parameters", reference="gru")


def chosen_rates(lab, title, path, settings):
    """For each network the rate, alone in a tuple, of the lowest mean loss on the validation split."""
    variants = {
        f"{name} {rate}": on_validation(lab.load(path.format(cell), *settings, *own, f"optimizer.learning_rate={rate}"))
        for name, (cell, own) in NETWORKS.items()
        for rate in RATES
    }
    axis = ("model", "optimizer.learning_rate")
    study = lab.train(f"{title}: rates", variants, axis=axis, match="parameters", reference=f"gru {RATES[0]}")
    loss = {name: sum(study.values("validation/loss", name).values()) for name in variants}
    return {name: (min(RATES, key=lambda rate: loss[f"{name} {rate}"]),) for name in NETWORKS}


def on_validation(config):
    for evaluator in config.evaluators.values():
        evaluator.split = "validation"
    return config


def ahead(lab, study, metric, name):
    """By how much a network is better than the GRU, seed by seed."""
    first, second = ("gru", name) if metric == "test/loss" else (name, "gru")
    return lab.differences(study, metric, first, second)
