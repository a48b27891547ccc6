"""Which emoji is it? Pictures and their names find each other (Radford et al., 2021).

    DATA_DIR=… ./launch.sh train --config=configs/clip_emoji.py:vit --workdir=runs/emoji_vit

Twemoji's pictures, 72×72 pixels, in twemoji/twemoji_72x72.tar.gz in DATA_DIR, with names and groups from
twemoji/emojibase.data.json; a tenth is validation and a tenth test, whole emoji that training never saw. Measured:
recall among all test emoji, both ways, and zero-shot classification of their groups from prompt templates. Arguments:
resnet, vit (the image tower). With `:embedded`, as in vit:embedded, scikit-learn's digits with captions are read.

Result, mean and 95 % interval of seeds 0, 1 and 2, on one of 2 CPU cores that other work shared, jax 0.10.2: resnet
finds the text of 45.9 ± 4.0 % of images among its first 10 of 191, and the image of 46.1 ± 6.0 % of texts, both 8.8
times chance (5.2 %); 22.2 ± 7.8 % of groups by zero-shot classification, where the most frequent is 25.7 %; in 413 to
516 s. vit finds 31.8 ± 5.4 and 32.6 ± 2.0 %, and 21.1 ± 10.6 % of groups; in 313 to 929 s. On the validation split
(--config.evaluators.retrieval.split=validation and the same of zero_shot) seed 0 of resnet has 49.5 and 45.8 % of 192,
and 22.4 % of groups (most frequent 19.3 %); on another machine it had 50.0, 49.0 and 24.5 %. Tried before: 4,000 word
pieces, dropout 0.1 and 1,500 updates, test, resnet 46.6 and 47.6 %, groups 26.7 % (most frequent 25.7 %), vit 36.6,
37.7 and 20.9 %; 800 updates, validation, resnet 45.8 % both ways; those with 1,000 word pieces and dropout 0.3, 44.8
and 45.3 %. Ten times chance is not reached: training pairs are known by heart, while names of emoji hold many words
that only one has.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

END = 4  # As every trained tokenizer numbers it.
TEXT = {"name": "clip", "max_length": 64, "embedding_size": 64, "text_hidden_size": 64, "num_text_layers": 2}
TEXT |= {"head_size": 16, "dropout_rate": 0.2}
MODELS: dict[str, dict[str, Any]] = {
    "resnet": {**TEXT, "image_tower": "resnet", "image_hidden_size": 16, "stage_sizes": (1, 1, 1)},
    "vit": {**TEXT, "image_tower": "vit", "image_hidden_size": 64, "patch_size": 8, "num_image_layers": 3},
}
VARIANTS = tuple(MODELS)
GROUPS: tuple[str, ...] = ("smiley", "people", "component", "animal or nature", "food or drink", "travel or place")
GROUPS += ("activity", "object", "symbol", "flag")
EMOJI = {
    "name": "image_text",
    "images": "twemoji/twemoji_72x72.tar.gz",
    "table": "twemoji/emojibase.data.json",
    "file": "twemoji/assets/72x72/{hexcode}.png",
    "text": "{label}, {tags}",
    "label": "group",
    "class_names": GROUPS,
    "ignore": r"-fe0f|(?<![0-9a-f])0+",
    "ignore_case": True,
    "skip_incomplete": True,
}


def get_config(argument: str = "") -> ConfigDict:
    name, embedded = common.choose_data(argument, VARIANTS, default="resnet")
    emoji = {
        "source": EMOJI,
        "tokenizer": {"name": "wordpiece", "vocab_size": 1000, "min_frequency": 1},
        "layout": {"name": "text", "max_length": 64, "truncate": True},
        "image_size": 48,
    }
    evaluators: dict[str, Any] = {"loss": {"split": "test"}}
    if not embedded:
        evaluators = {"retrieval": {}, "zero_shot": {"templates": ("{}", "a {}", "{} emoji")}}
    return ConfigDict(
        {
            "model": {**MODELS[name], **({"patch_size": 2} if embedded and name == "vit" else {})}
            | ({} if embedded else {"end_token": END}),
            "objective": {"name": "contrastive"},
            "data": {
                **({"source": {"name": "captioned_digits"}, "image_size": 16} if embedded else emoji),
                "batch_size": 64,
                "augmentation": {} if embedded else {"random_shift": {"pixels": 4}},
                "cache": True,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
                "schedule": {"name": "cosine", "warmup_steps": 100},
                "ema_decay": 0.99,
            },
            "evaluators": evaluators,
            "log_every": 50,
            "steps": 300 if embedded else 2000,
        }
    )
