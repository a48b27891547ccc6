"""From English to German: does attention lift the limit of a vector of fixed size? (Bahdanau et al., 2014)

    DATA_DIR=… ./launch.sh train --config=configs/multi30k_en_de.py:gru --workdir=runs/multi30k_gru
    ./launch.sh decode --workdir=runs/multi30k_gru --input=english.txt --beam=4

Captions of pictures, 29,000 pairs (Multi30k: Elliott et al., 2016), in the folder multi30k in DATA_DIR: train.en,
train.de, val.en, …, test_2016_flickr.de, as they are or as .gz. One vocabulary of byte pairs for both languages, a beam
of 4 for all models, and BLEU by sacrebleu on test 2016, whole and by quarters of sentence length. Arguments: gru
(additive attention), gru_fixed (Cho et al., 2014: one vector), transformer, of 2.6 million parameters each; with
`:embedded`, a toy language.

Not measured yet.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

SIZES = {"name": "seq2seq", "embedding_size": 128, "dropout_rate": 0.3}
MODELS: dict[str, dict[str, Any]] = {
    "gru": {**SIZES, "variant": "bahdanau", "hidden_size": 192, "alignment_size": 128, "maxout_size": 128},
    "gru_fixed": {**SIZES, "variant": "cho", "hidden_size": 256, "maxout_size": 128},
    "transformer": {
        "name": "transformer",
        "hidden_size": 128,
        "num_layers": 4,
        "num_heads": 4,
        "mlp_size": 632,
        "norm": "pre",
        "dropout_rate": 0.3,
    },
}
VARIANTS = tuple(MODELS)


def get_config(argument: str = "") -> ConfigDict:
    name, embedded = common.choose_data(argument, VARIANTS, default="gru")
    is_transformer = name == "transformer"
    source = {"name": "parallel_text", "path": "multi30k", "validation": "val", "test": "test_2016_flickr"}
    return ConfigDict(
        {
            "model": MODELS[name],
            "objective": {"name": "sequence_to_sequence", "label_smoothing": 0.1},
            "data": {
                "source": {"name": "tiny_translation"} if embedded else source,
                "tokenizer": {"name": "bpe", "vocab_size": 4000},
                "layout": {"name": "translation", "max_length": 80},
                "length_buckets": (12, 16, 20, 24, 32, 48),
                "batch_size": 128,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 2e-3,
                "b2": 0.98,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "schedule": {"name": "cosine", "warmup_steps": 400},
                "ema_decay": 0.999,
            },
            "evaluators": {
                "accuracy": {"split": "validation", "every": 500},
                "bleu": {"split": "test", "num_beams": 4, "by_length": True},
            },
            "checkpoint": {"every": 1000},
            "log_every": 100,
            "steps": 300 if embedded else (6000 if is_transformer else 3500),
        }
    )
