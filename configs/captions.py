"""Digits and their captions: an image, and a sentence that names it, find each other (Radford et al., 2021).

    ./launch.sh train --config=configs/captions.py:clip --workdir=runs/clip

Arguments: clip, which learns which caption of a batch belongs to which image; cross_attention, single_stream, concat
and late, which name the digit from both (a check that each trains: captions name the digit too).

Result of clip, seed 0 only, as a check: in test batches of 32, 28.1 % of the images find their caption and 32.2 % of
the captions their image (chance is 3.1 %; about three rows of a batch share a digit, and no image says which template
its caption has), in under a minute on 2 CPU cores, jax 0.10.2. Nothing was tuned.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

CLIP = {
    "name": "clip",
    "vocab_size": 22,
    "max_length": 8,
    "embedding_size": 32,
    "image_hidden_size": 64,
    "patch_size": 2,
    "num_image_layers": 2,
    "text_hidden_size": 64,
    "num_text_layers": 2,
    "head_size": 16,
}
FUSION = {
    "name": "fusion",
    "num_classes": 10,
    "modalities": ("image", "tokens"),
    "patch_size": 2,
    "vocab_size": 22,
    "hidden_sizes": (32,),
    "mlp_size": 64,
}
MODELS: dict[str, dict[str, Any]] = {
    "clip": CLIP,
    **{name: {**FUSION, "fusion": name} for name in ("cross_attention", "single_stream", "concat", "late")},
}
CHOICES = tuple(MODELS)


def get_config(argument: str = "") -> ConfigDict:
    name = common.choose(argument, CHOICES, default="clip")
    contrastive = name == "clip"
    return ConfigDict(
        {
            "model": MODELS[name],
            "objective": {"name": "contrastive" if contrastive else "classification"},
            "data": {"source": {"name": "captioned_digits"}, "batch_size": 32, "cache": True},
            "optimizer": {
                "name": "adamw",
                "learning_rate": 1e-3,
                "weight_decay": 0.01,
                "schedule": {"name": "cosine", "warmup_steps": 50},
            },
            "evaluators": {"loss": {"every": 200}} if contrastive else {"accuracy": {"every": 200}},
            "log_every": 50,
            "steps": 600,
        }
    )
