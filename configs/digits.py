"""Scikit-learn's digits."""

from ml_collections import ConfigDict

from configs import common

MODELS = {
    "mlp": {"name": "mlp", "num_classes": 10},
    "lenet": {"name": "lenet", "num_classes": 10},
    "rnn": {"name": "rnn", "num_classes": 10, "hidden_size": 64},
    "vit": {
        "name": "vit",
        "num_classes": 10,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "mlp_size": 64,
        "patch_size": 2,
    },
}


def get_config(argument: str = "") -> ConfigDict:
    name = common.choose(argument, MODELS, default="mlp")
    data = {"source": {"name": "digits"}, "batch_size": 64, "cache": True}
    if name == "lenet":
        data["image_size"] = 28
    return ConfigDict(
        {
            "model": MODELS[name],
            "objective": {"name": "classification"},
            "data": data,
            "optimizer": {"name": "adamw", "learning_rate": 1e-3},
            "evaluators": {"accuracy": {"every": 100}},
            "steps": 300,
        }
    )
