"""How many images does it take? A convolutional network and a Vision Transformer, on part of the training examples.

    ./launch.sh train --config=configs/few_images.py:vit:embedded --workdir=runs/few --config.data.train_fraction=0.07
    TFDS_DATA_DIR=… ./launch.sh train --config=configs/few_images.py:cnn --workdir=runs/cnn

Arguments: cnn, vit and vit_narrow, with the same optimizer, learning rate and number of updates. On CIFAR-10, prepared
by TFDS, cnn is a residual network of three stages; vit takes as many operations, and vit_narrow has as many parameters.
`:embedded` takes scikit-learn's digits, enlarged to 16×16 pixels, where cnn is LeNet, vit has as many parameters, and
vit_narrow takes as many operations.

Not measured yet, but by the claims C09, C38, C40 and C41, which make parameters or operations equal.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import common

VARIANTS = ("cnn", "vit", "vit_narrow")
DIGITS: dict[str, dict[str, Any]] = {
    "cnn": {"name": "lenet", "variant": "modern"},
    "vit": {"name": "vit", "patch_size": 4, "hidden_size": 32, "num_layers": 3, "num_heads": 4, "mlp_size": 35},
    "vit_narrow": {"name": "vit", "patch_size": 4, "hidden_size": 16, "num_layers": 2, "num_heads": 4, "mlp_size": 28},
}
CIFAR: dict[str, dict[str, Any]] = {
    "cnn": {
        "name": "resnet",
        "block": "basic",
        "stem": "small",
        "stage_sizes": (2, 2, 2),
        "hidden_sizes": (32, 64, 128),
        "stage_strides": (1, 2, 2),
    },
    "vit": {"name": "vit", "patch_size": 4, "hidden_size": 128, "num_layers": 6, "num_heads": 4, "mlp_size": 741},
    "vit_narrow": {"name": "vit", "patch_size": 4, "hidden_size": 96, "num_layers": 6, "num_heads": 4, "mlp_size": 396},
}


def get_config(argument: str = "") -> ConfigDict:
    name, embedded = common.choose_data(argument, VARIANTS, default="cnn")
    model = (DIGITS if embedded else CIFAR)[name]
    return ConfigDict(
        {
            "model": {
                **model,
                "num_classes": 10,
                "dropout_rate": 0.1,
                **({"pool": "mean"} if model["name"] == "vit" else {}),
            },
            "objective": {"name": "classification", "label_smoothing": 0.1},
            "data": {
                "source": {"name": "digits"} if embedded else {"name": "tfds", "dataset": "cifar10"},
                "batch_size": 64 if embedded else 128,
                "image_size": 16 if embedded else None,
                "cache": True,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 3e-3 if embedded else 1e-3,
                "weight_decay": 0.01,
                "schedule": {"name": "cosine", "warmup_steps": 50},
            },
            "evaluators": {"accuracy": {"every": 25 if embedded else 500}},
            "log_every": 50,
            "steps": 400 if embedded else 16_000,
        }
    )
