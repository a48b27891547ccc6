"""ResNet, with parameters and batch statistics."""

from collections.abc import Mapping
from typing import Any

from train.errors import UserError
from train.pretrained.tables import Head, Shape, batch_norm, convolution, linear, within

MODEL_TYPE = "resnet"
ARCHITECTURE = "resnet"
PREFIX = "resnet."

CONV_NORM = (convolution("convolution", "conv"), batch_norm("normalization", "norm"))
STAGE, BLOCK = "encoder.stages.{stage}.layers.{block}", "stage_{stage}_block_{block}"
BODY = (
    *within("embedder.embedder", "stem", *CONV_NORM),
    *within(f"{STAGE}.layer.{{layer}}", f"{BLOCK}/conv_{{layer}}", *CONV_NORM),
    *within(f"{STAGE}.shortcut", f"{BLOCK}/shortcut", *CONV_NORM),
)
HEADS = {
    "classes": Head("ResNetForImageClassification", linear("classifier.1", "head/dense", part="head")),
    "none": Head("ResNetModel"),
}
BUFFERS = ()
UNUSED = ()

EXPANSION = {"basic": 1, "bottleneck": 4}  # of channels, in a block

FIXED_HERE = {"stem": "imagenet", "padding": "zero"}
FIXED_THERE = {"hidden_act": "relu", "downsample_in_bottleneck": False}


def head(model: Any) -> str:
    return "none" if model.num_classes is None else "classes"


def fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Their sizes are of what a stage puts out, and the stem's is one by itself."""
    kind, stem = config.get("layer_type", "bottleneck"), config.get("embedding_size", 64)
    sizes = tuple(config.get("hidden_sizes", (256, 512, 1024, 2048)))
    expansion = EXPANSION[kind]
    if sizes[0] != expansion * stem or any(size % expansion for size in sizes):
        raise UserError(
            f"config.init_from: hidden_sizes={sizes} and embedding_size={stem} in config.json have no counterpart "
            f"here: all sizes must be multiples of {expansion}, the first {expansion} times the stem's."
        )
    first = 2 if config.get("downsample_in_first_stage", False) else 1
    return {
        "block": kind,
        "stage_sizes": tuple(config.get("depths", (3, 4, 6, 3))),
        "hidden_sizes": tuple(size // expansion for size in sizes),
        "stage_strides": (first, *(2 for _ in sizes[1:])),
    }


def config(model: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    return {
        "layer_type": model.block,
        "depths": list(model.stage_sizes),
        "embedding_size": model.hidden_sizes[0],
        "hidden_sizes": [EXPANSION[model.block] * size for size in model.hidden_sizes],
        "downsample_in_first_stage": model.stage_strides[0] == 2,
        "num_channels": shapes["params/stem/conv/kernel"][2],
    }
