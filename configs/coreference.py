"""The owl and the squirrel: which of two animals is "it"? (After the article, "Benefits of Transformers".)

    ./launch.sh compare --config=configs/coreference.py --workdir=runs/coreference

Stories are generated: two animals meet, others stand by, one seizes the other, and what follows says only "it" and
"its". Asked is whose part something is; the answer is one of 28 animals, and no pair of the test meets in training.
Arguments: attention (a Transformer encoder), lstm (bidirectional, 133,660 parameters to 113,820), and the control
nearby: the Transformer, reading the last sentence and the question alone, in which no animal is named.

Result, test accuracy of seed 0 (one seed so far): attention 100.0 %, lstm 51.9 %, nearby 1.2 %, in 2 min 34 s, 1 min
49 s and 4 min 55 s, on one of 2 CPU cores that other work shared, jax 0.10.2. Nothing was tuned, but the stories: with
more that stood by, and parts that either animal may have, attention was right for half of those it trained on after 900
updates. The LSTM, after these 800, is right as often as one who guesses between the two animals that met.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

ATTENTION = {"name": "bert", "head": "sequence", "max_length": 40, "hidden_size": 64, "num_layers": 3, "num_heads": 4}
ATTENTION |= {"mlp_size": 128, "dropout_rate": 0.1, "num_classes": 28}
LSTM = {"name": "rnn", "cell": "lstm", "bidirectional": True, "outputs": "last", "embedding_size": 64}
MODELS: dict[str, dict[str, Any]] = {
    "attention": ATTENTION,
    "lstm": {**LSTM, "hidden_size": 96, "dropout_rate": 0.1},
    "nearby": ATTENTION,
}
VARIANTS = tuple(MODELS)


def get_config(argument: str = "") -> ConfigDict:
    # The data are generated: `embedded` is only shorter.
    name, embedded = common.choose_data(argument, VARIANTS, default="attention")
    return ConfigDict(
        {
            "model": MODELS[name],
            "objective": {"name": "classification"},
            "data": {
                "source": {"name": "coreference", "whole": name != "nearby"},
                "tokenizer": {"name": "word"},
                "layout": {"name": "text", "max_length": 40},
                "batch_size": 64,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "schedule": {"name": "cosine", "warmup_steps": 100},
            },
            "evaluators": {"accuracy": {"every": 250}},
            "log_every": 50,
            "steps": 300 if embedded else 800,
        }
    )
