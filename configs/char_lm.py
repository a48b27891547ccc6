"""Language models of characters: a GPT, and recurrent networks of as many parameters.

    TFDS_DATA_DIR=… ./launch.sh train --config=configs/char_lm.py:gpt --workdir=runs/char_gpt
    echo "ROMEO:" | ./launch.sh decode --workdir=runs/char_gpt --temperature=0.8

Trained on Tiny Shakespeare (Karpathy, 2015), prepared by TFDS, with the settings that nanoGPT
(https://github.com/karpathy/nanoGPT) gives for a CPU: 4 layers, 128 wide, a context of 64, 2,000 updates of 12 windows;
its README reports a validation loss of 1.88 nats. `gpt_large` has its settings for a GPU: 6 layers, 384 wide, a context
of 256, 5,000 updates of 64 windows, and 1.4697. TFDS cuts the last tenth of the text, nanoGPT's validation, in two:
validation and test. Arguments: gpt, gpt_large, lstm, gru; `gpt:embedded` reads the documentation of Python instead.

Own text: --config.data.source.name=text --config.data.source.train=my.txt --config.data.source.validation_fraction=0.1

Result, validation loss after 2,000 updates: gpt 1.8769 ± 0.0194 nats, mean and 95 % interval of seeds 0, 1 and 2, in
133 to 165 s; of as many parameters, lstm 1.6766 and gru 1.6130 (seed 0 only: 36 min 31 s and 22 min 2 s, much of which
they waited), on one of 2 CPU cores that other work shared, jax 0.10.2. Nothing was tuned. At this size and after as
many updates, the recurrent networks are ahead. gpt goes on from "ROMEO:" at temperature 0.8 (seed 0), to the end of its
context:

    Then say is, 'but must no bee faging to him.

    Serves her t

gpt_large, seed 0, with matmul_precision=default, on an H200 that other runs shared, jax 0.11.2, in 652 s: its
validation loss is 1.3904 nats after 2,000 of the 5,000 updates, its lowest of ten, and 1.6290 at the end, where that of
training is 0.8030. After "ROMEO:", from the end:

    Then stay aside time hath bred Mercury there.

    JULIET:
    By my father's name is Montague.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SMALL = {"max_length": 65, "hidden_size": 128, "num_layers": 4, "num_heads": 4, "mlp_size": 512, "dropout_rate": 0.0}
LARGE = {"max_length": 257, "hidden_size": 384, "num_layers": 6, "num_heads": 6, "mlp_size": 1536, "dropout_rate": 0.2}
RECURRENT = {"name": "rnn", "outputs": "all", "embedding_size": 128}
MODELS: dict[str, dict[str, Any]] = {
    "gpt": {"name": "gpt", **SMALL},
    "gpt_large": {"name": "gpt", **LARGE},
    "lstm": {**RECURRENT, "cell": "lstm", "hidden_size": 380},
    "gru": {**RECURRENT, "cell": "gru", "hidden_size": 446},
}
CHOICES = tuple(MODELS)
VARIANTS = ("gpt", "lstm", "gru")


def get_config(argument: str = "") -> ConfigDict:
    name, embedded = common.choose_data(argument, CHOICES, default="gpt")
    is_large = name == "gpt_large"
    return ConfigDict(
        {
            "model": MODELS[name],
            "objective": {"name": "language_modeling"},
            "data": {
                "source": {"name": "english"} if embedded else {"name": "tfds", "dataset": "tiny_shakespeare"},
                "tokenizer": {"name": "character"},
                "layout": {"name": "language", "max_length": 257 if is_large else 65, "stride": 1},
                "batch_size": (4 if embedded else 64) if is_large else 12,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "b2": 0.99,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
                "schedule": {"name": "cosine", "warmup_steps": 20 if embedded else 100, "final_fraction": 0.1},
            },
            "evaluators": {"loss": {"split": "validation", "every": 500}},
            "log_every": 100,
            "steps": (40 if is_large else 100) if embedded else (5000 if is_large else 2000),
        }
    )
