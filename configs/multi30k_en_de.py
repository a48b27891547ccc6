"""From English to German: does attention lift the limit of a vector of fixed size? (Bahdanau et al., 2014)

    DATA_DIR=… ./launch.sh train --config=configs/multi30k_en_de.py:gru --workdir=runs/multi30k_gru
    ./launch.sh decode --workdir=runs/multi30k_gru --input=english.txt --beam=4

Captions of pictures, 29,000 pairs (Multi30k: Elliott et al., 2016), in the folder multi30k in DATA_DIR: train.en,
train.de, val.en, …, test_2016_flickr.de, as they are or as .gz. One vocabulary of byte pairs for both languages, a beam
of 4 for all models, and BLEU by sacrebleu on test 2016, whole and by quarters of sentence length. Arguments: gru
(additive attention), gru_fixed (Cho et al., 2014: one vector), transformer, of 2.6 million parameters each; with
`:embedded`, a toy language.

Result, BLEU on test 2016 of seed 0 (one seed so far), beam of 4, on one of 2 CPU cores that other work shared, jax
0.10.2:

    model        whole   quarters of sentences, shortest first   time
    gru          34.47   39.17   36.60   33.80   31.53           72 min, 37 of them before memory was kept between steps
    gru_fixed    21.06   25.70   24.97   22.12   15.97           55 min
    transformer  35.58   39.45   37.90   37.26   31.18           80 min

One vector of fixed size costs 13.4 points, and 15.6 in the quarter of the longest sentences. The Transformer is ahead
by 1.1 points, where 3 were wanted, and behind in the longest quarter. Nothing was tuned. After its 5,000 updates it is
right for 62 % of the tokens that it trains on, under its dropout of 0.3, and for 63.6 % of validation's: it does not
know its examples by heart. An earlier form that dropped inner units of the perceptrons, too, had 35.65 BLEU and 63.8 %
after 6,000 updates, in 172 min. On an H200, with all padded to one length (data.length_buckets=()),
matmul_precision=default and 12,000 updates, three seeds were right for 68.8 to 69.8 % after 10,000, when its time
ended; the GRU, beside it with the same settings, for 64.9 to 65.2 % after 6,000. BLEU was not measured there.
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
                "schedule": {"name": "cosine", "warmup_steps": 50 if embedded else 400},
                "ema_decay": None if embedded else 0.999,  # An average over so few updates is what they began with.
            },
            "evaluators": {
                "accuracy": {"split": "validation", "every": 500},
                "bleu": {"split": "test", "num_beams": 4, "by_length": True},
            },
            "checkpoint": {"every": 1000},
            "log_every": 100,
            "steps": 200 if embedded else (5000 if is_transformer else 3500),
        }
    )
