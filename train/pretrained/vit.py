"""Vision Transformer."""

from collections.abc import Mapping
from typing import Any

from train.pretrained import settings
from train.pretrained.tables import Entry, Head, Layout, Shape, convolution, heads_in, heads_out, linear, norm, within

MODEL_TYPE = "vit"
ARCHITECTURE = "vit"
PREFIX = "vit."

BODY = (
    Entry(("embeddings.cls_token",), ("token",), Layout("1 1 D -> 1 1 D")),
    Entry(("embeddings.position_embeddings",), ("positions/embedding",), Layout("T D -> 1 T D"), is_grid=True),
    *convolution("embeddings.patch_embeddings.projection", "patches"),
    *within(
        "encoder.layer.{layer}",
        "blocks/layer_{layer}",
        norm("layernorm_before", "attention_norm"),
        heads_in("attention.attention.query", "attention/query"),
        heads_in("attention.attention.key", "attention/key"),
        heads_in("attention.attention.value", "attention/value"),
        heads_out("attention.output.dense", "attention/output"),
        norm("layernorm_after", "mlp_norm"),
        linear("intermediate.dense", "mlp/inner"),
        linear("output.dense", "mlp/outer"),
    ),
    *norm("layernorm", "norm"),
)
HEADS = {
    "classes": Head("ViTForImageClassification", linear("classifier", "head/dense", part="head")),
    "none": Head("ViTModel"),
}
BUFFERS = ()
# The pooler is never trained with the classifier, and `Model` has none.
UNUSED = ("pooler.dense.weight", "pooler.dense.bias")

FIXED_HERE = {"pool": "token", "positions": "learned", "norm": "pre", "patch_bias": True, "embedding_norm": False}
FIXED_THERE = {"qkv_bias": True}
RENAMED: settings.Renamed = {
    "patch_size": ("patch_size", 16),
    "hidden_size": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "mlp_size": ("intermediate_size", 3072),
    "norm_epsilon": ("layer_norm_eps", 1e-12),
}


def head(model: Any) -> str:
    return "none" if model.num_classes is None else "classes"


def fields(config: Mapping[str, Any]) -> dict[str, Any]:
    activation = settings.read_activation(config.get("hidden_act", "gelu"))
    return {**settings.read(RENAMED, config), "activation": activation}


def config(model: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    positions, _ = shapes["params/positions/embedding"]
    return {
        **settings.write(RENAMED, model),
        "hidden_act": settings.write_activation(model.activation),
        "image_size": settings.side_of_grid(positions) * model.patch_size,
        "num_channels": shapes["params/patches/kernel"][2],
        "hidden_dropout_prob": model.dropout_rate,
        "attention_probs_dropout_prob": settings.attention_dropout(model, 0.0),
    }
