"""Four short tests of memory, each for a minute or less of one CPU core: who remembers what, and for how long?

    ./launch.sh train --config=configs/memory.py:counting_lstm --workdir=runs/counting_lstm
    ./launch.sh compare --config=configs/memory.py --match=parameters --workdir=runs/memory

Arguments are TASK_MODEL. adding: the sum of two marked numbers among 100 (configs/adding.py). copy: ten symbols, to be
written again after 50 blank steps (configs/copy_memory.py). counting: the end of strings aⁿbⁿ, trained with n up to 20
and tested up to 60 (Weiss et al., 2018). gap: the copying task as tokens, after 16 steps, also tested after twice as
many. Models: gru, lstm and simple (the tanh network of Elman, 1990); for adding and copy also tcn, for gap also
attention (two causal layers with learned positions). Settings of a task are equal for all models; the claims that use
them make parameters equal too. Without an argument, the recurrent networks meet the adding problem.

Not measured yet over seeds: the claims C13, C17, C22, C23 and C33 do that. With seed 100, on which the numbers
of updates were chosen, the adding problem was solved by the GRU and the TCN, the copying by the TCN and by attention.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

CELLS = ("gru", "lstm", "simple")
MODELS = {"adding": (*CELLS, "tcn"), "copy": (*CELLS, "tcn"), "counting": CELLS, "gap": ("attention", *CELLS)}
CHOICES = tuple(f"{task}_{model}" for task, models in MODELS.items() for model in models)
VARIANTS = tuple(f"adding_{cell}" for cell in CELLS)

SOURCES: dict[str, dict[str, Any]] = {
    "adding": {"name": "adding", "length": 100, "eval_size": 250},
    "copy": {"name": "copy_memory", "blanks": 50, "train_size": 50_000, "eval_size": 250},
    "counting": {"name": "counting", "max_count": 20, "max_test_count": 60},
    "gap": {
        "name": "copy_memory",
        "form": "tokens",
        "blanks": 16,
        "longer_blanks": 32,
        "train_size": 50_000,
        "eval_size": 250,
    },
}
EVALUATORS: dict[str, dict[str, Any]] = {
    "adding": {"loss": {"every": 25}},
    "copy": {"accuracy": {"every": 25}},
    "counting": {"accuracy": {"every": 200}, "longest_solved": {"every": 200}},
    "gap": {"accuracy": {"every": 200}, "loss": {"split": "longer"}},
}
STEPS = {"adding": 1200, "copy": 700, "counting": 600, "gap": 800}
LEARNING_RATES = {"adding": 2e-3, "copy": 2e-3, "counting": 2e-3, "gap": 2e-3}
TOKENS = {"counting": {"vocab_size": 4, "embedding_size": 8}, "gap": {"vocab_size": 10, "embedding_size": 16}}


def get_config(argument: str = "") -> ConfigDict:
    task, _, name = common.choose(argument, CHOICES, default="adding_gru").partition("_")
    return ConfigDict(
        {
            "model": model(task, name),
            "objective": {"name": "regression" if task == "adding" else "classification"},
            "data": {"source": SOURCES[task], "batch_size": 32},
            "optimizer": {
                "name": "adam",
                "learning_rate": LEARNING_RATES[task],
                "clip_norm": 1.0,
                "schedule": {"name": "cosine", "warmup_steps": 100},
            },
            "evaluators": EVALUATORS[task],
            "log_every": 50,
            "steps": STEPS[task],
        }
    )


def model(task: str, name: str) -> dict[str, Any]:
    outputs: dict[str, Any] = {"outputs": "last", "num_classes": 1} if task == "adding" else {"outputs": "all"}
    if name == "attention":
        sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "mlp_size": 64, "max_length": 160}
        return {"name": "gpt", "head": "tokens", "vocab_size": 10, "num_classes": 10, "dropout_rate": 0.0, **sizes}
    if name == "tcn":  # Kernels as in Bai et al. (2018); four blocks reach 211 steps back.
        return {
            "name": "tcn",
            "kernel_size": 8,
            "num_layers": 4,
            "hidden_size": 12 if task == "adding" else 15,
            **outputs,
        }
    hidden_size = 52 if task == "adding" else 64  # Of this size a TCN comes within 2 % of the GRU's parameters.
    return {"name": "rnn", "variant": name, "hidden_size": hidden_size, **TOKENS.get(task, {}), **outputs}
