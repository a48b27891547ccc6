"""Reversing strings: an encoder's one vector against attention (Bahdanau et al., 2014; article, "Attention").

Every network reads the same strings of 1 to 12 symbols and must write them backwards. Arguments: fixed (Cho et al.,
2014), sutskever, bahdanau, luong. Widths are equal, so numbers of parameters are not.

    ./launch.sh compare --config=configs/transduction.py --metric=test/sequence_accuracy --workdir=runs/contexts
    ./launch.sh train --config=configs/transduction.py:bahdanau --workdir=runs/bahdanau

Result, strings of the test split that are right in every symbol, mean and 95 % interval of seeds 0, 1 and 2: bahdanau
100.00 ± 0.00 %, luong 100.00 ± 0.00 %, fixed 94.10 ± 1.08 %, sutskever (whose encoder reads the source from its end,
here the wrong way round) 77.53 ± 2.36 %; all twelve runs in 8 min 19 s on 2 CPU cores that other work shared, jax
0.10.2. Nothing was tuned.
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
