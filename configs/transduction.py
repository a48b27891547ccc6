"""Reversing strings: an encoder's one vector against attention (Bahdanau et al., 2014; article, "Attention").

Every network reads the same strings of 1 to 12 symbols and must write them backwards; its encoder's last word is the
first to be written, its first word the last. Arguments: fixed (Cho et al., 2014), sutskever, bahdanau, luong.

    ./launch.sh train --config=configs/transduction.py:bahdanau --workdir=runs/bahdanau
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SIZES = {"hidden_size": 64, "embedding_size": 32}
MODELS: dict[str, dict[str, Any]] = {
    "fixed": {"variant": "cho", **SIZES, "maxout_size": 32},
    "sutskever": {"variant": "sutskever", **SIZES, "num_layers": 1},
    "bahdanau": {"variant": "bahdanau", **SIZES, "alignment_size": 64, "maxout_size": 32},
    "luong": {"variant": "luong", **SIZES, "num_layers": 1, "dropout_rate": 0.0},
}
VARIANTS = tuple(MODELS)


def get_config(argument: str = "") -> ConfigDict:
    name = common.choose(argument, VARIANTS, default="bahdanau")
    return ConfigDict(
        {
            "model": {"name": "seq2seq", **MODELS[name], "source_vocab_size": 10, "target_vocab_size": 10},
            "objective": {"name": "sequence_to_sequence"},
            "data": {"source": {"name": "transduction", "task": "reverse", "max_length": 12}, "batch_size": 64},
            "optimizer": {
                "name": "adamw",
                "learning_rate": 3e-3,
                "weight_decay": 0.0,
                "clip_norm": 1.0,
                "schedule": {"name": "cosine", "warmup_steps": 100},
            },
            "evaluators": {"accuracy": {"every": 500}},
            "log_every": 100,
            "steps": 1500,
        }
    )
