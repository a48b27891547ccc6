"""BERT learns from sentences without labels, by guessing hidden words (Devlin et al., 2018).

    DATA_DIR=… TFDS_DATA_DIR=… ./launch.sh train --config=configs/bert_text.py --workdir=runs/bert_text

Reads the sentences of sst2 and of the English half of Multi30k, and the lines of Tiny Shakespeare: training splits, no
labels. configs/sst2.py and configs/nli.py go on from it. The network is a small BERT: 4 layers, 128 wide. With
`embedded`, or `bert:embedded`, it reads the documentation of Python.

Result of seed 0 (one seed, since what counts is what starts from it): 30.1 % of the hidden words of the validation
split are guessed right, at a loss of 4.21 nats, after 6,000 updates, in 27 min, on one of 2 CPU cores that other work
shared, jax 0.10.2. Nothing was tuned.
"""

from ml_collections import ConfigDict

from configs import common

PAD, UNKNOWN, START, SEPARATOR, END, MASK = range(6)  # As every trained tokenizer numbers them.

CHOICES = ("bert",)


def get_config(argument: str = "") -> ConfigDict:
    _, embedded = common.choose_data(argument, CHOICES, default="bert")
    return ConfigDict(
        {
            "model": {**common.BERT, "dropout_rate": 0.0},
            "objective": {
                "name": "masked_language_modeling",
                "mask_token": MASK,
                "special_tokens": (PAD, START, SEPARATOR, END),
            },
            "data": {
                "source": {"name": "english", "unit": "paragraph"} if embedded else common.SENTENCES,
                "tokenizer": {"name": "wordpiece", "vocab_size": 4000},
                "layout": {"name": "text", "max_length": 128, "truncate": True},
                "length_buckets": (16, 24, 32, 48),
                "batch_size": 64,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "b2": 0.98,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "schedule": {"name": "linear", "warmup_steps": 50 if embedded else 500},
            },
            "evaluators": {"accuracy": {"split": "validation", "every": 2000}},
            "log_every": 200,
            "steps": 150 if embedded else 6000,
        }
    )
