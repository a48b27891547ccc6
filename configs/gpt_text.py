"""GPT learns from sentences by guessing what comes next, before it learns a task (Radford et al., 2018).

    DATA_DIR=… TFDS_DATA_DIR=… ./launch.sh train --config=configs/gpt_text.py --workdir=runs/gpt_text

Reads what configs/bert_text.py reads, one sentence after the other. configs/nli.py goes on from it. The network is
GPT-1's at a small size: 4 layers, 128 wide. With `embedded`, or `gpt:embedded`, it reads the documentation of Python.

Result of seed 0 (one seed, since what counts is what starts from it): a loss of 4.14 nats for each token of the
validation split, of which 27.5 % are guessed right, after 4,000 updates, in 60 min, on one of 2 CPU cores that other
work shared, jax 0.10.2. Nothing was tuned.
"""

from ml_collections import ConfigDict

from configs import common

CHOICES = ("gpt",)


def get_config(argument: str = "") -> ConfigDict:
    _, embedded = common.choose_data(argument, CHOICES, default="gpt")
    return ConfigDict(
        {
            "model": {**common.GPT, "dropout_rate": 0.1},
            "objective": {"name": "language_modeling"},
            "data": {
                "source": {"name": "english"} if embedded else common.SENTENCES,
                "tokenizer": {"name": "wordpiece", "vocab_size": 4000},
                "layout": {"name": "language", "max_length": 64},
                "batch_size": 32,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "schedule": {"name": "cosine", "warmup_steps": 50 if embedded else 200},
            },
            "evaluators": {"loss": {"split": "validation", "every": 1000}},
            "log_every": 200,
            "steps": 120 if embedded else 4000,
        }
    )
