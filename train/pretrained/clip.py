"""CLIP with a Vision Transformer; transformers has none with a ResNet."""

from collections.abc import Mapping
from typing import Any

from archs.clip import EPSILON
from train.errors import UserError
from train.pretrained import settings
from train.pretrained.tables import (
    CONVOLUTION,
    LINEAR,
    MATRIX,
    SCALAR,
    Entry,
    Head,
    Layout,
    Shape,
    heads_in,
    heads_out,
    linear,
    norm,
    within,
)

MODEL_TYPE = "clip"
ARCHITECTURE = "clip"
PREFIX = ""

LAYER = (
    norm("layer_norm1", "attention_norm"),
    heads_in("self_attn.q_proj", "attention/query"),
    heads_in("self_attn.k_proj", "attention/key"),
    heads_in("self_attn.v_proj", "attention/value"),
    heads_out("self_attn.out_proj", "attention/output"),
    norm("layer_norm2", "mlp_norm"),
    linear("mlp.fc1", "mlp/inner"),
    linear("mlp.fc2", "mlp/outer"),
)
BODY = (
    Entry(("logit_scale",), ("log_scale",), SCALAR),
    Entry(("text_model.embeddings.token_embedding.weight",), ("text_embedding/embedding",), MATRIX),
    Entry(("text_model.embeddings.position_embedding.weight",), ("text_positions/embedding",), MATRIX),
    *within("text_model.encoder.layers.{layer}", "text_blocks/layer_{layer}", *LAYER),
    *norm("text_model.final_layer_norm", "text_norm"),
    Entry(("text_projection.weight",), ("text_projection/kernel",), LINEAR),
    Entry(("vision_model.embeddings.class_embedding",), ("image/token",), Layout("1 1 D -> D")),
    Entry(("vision_model.embeddings.patch_embedding.weight",), ("image/patches/kernel",), CONVOLUTION),
    Entry(("vision_model.embeddings.position_embedding.weight",), ("image/positions/embedding",), MATRIX, is_grid=True),
    *norm("vision_model.pre_layrnorm", "image/embedding_norm"),
    *within("vision_model.encoder.layers.{layer}", "image/blocks/layer_{layer}", *LAYER),
    *norm("vision_model.post_layernorm", "image/norm"),
    Entry(("visual_projection.weight",), ("image_projection/kernel",), LINEAR),
)
HEADS = {"none": Head("CLIPModel")}
BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")  # 0, 1, 2, …
UNUSED = ()

FIXED_HERE = {"image_tower": "vit"}
FIXED_THERE: dict[str, Any] = {}
NONE_IS = {"patch_size": 32, "num_image_layers": 12}
# What `Model` has no fields for, and transformers' defaults.
TOWER = {"hidden_act": "quick_gelu", "layer_norm_eps": EPSILON}
TEXT = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048}
VISION = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
# Such an end token says that the highest token of a text ends it, as in OpenAI's release.
HIGHEST = 2


def head(model: Any) -> str:
    return "none"


def fields(config: Mapping[str, Any]) -> dict[str, Any]:
    text = _tower(config, "text_config", TEXT)
    vision = _tower(config, "vision_config", VISION)
    end = text.get("eos_token_id", 49_407)
    return {
        "vocab_size": text.get("vocab_size", 49_408),
        "max_length": text.get("max_position_embeddings", 77),
        "end_token": None if end == HIGHEST else end,
        "embedding_size": config.get("projection_dim", 512),
        "image_hidden_size": vision["hidden_size"],
        "patch_size": vision.get("patch_size", 32),
        "num_image_layers": vision.get("num_hidden_layers", 12),
        "text_hidden_size": text["hidden_size"],
        "num_text_layers": text.get("num_hidden_layers", 12),
        "head_size": _head_size(text, vision),
    }


def _tower(config: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one tower; older configs have them under a second name, which wins."""
    tower = {**TOWER, **defaults, **(config.get(f"{name}_dict") or config.get(name) or {})}
    for key, needed in {**TOWER, "intermediate_size": 4 * tower["hidden_size"]}.items():
        if tower[key] != needed:
            raise UserError(
                f"config.init_from: {name}.{key} of config.json is {tower[key]!r}; clip has only {needed!r}."
            )
    return tower


def _head_size(*towers: Mapping[str, Any]) -> int:
    sizes = {tower["hidden_size"] // tower["num_attention_heads"] for tower in towers}
    if len(sizes) != 1:
        raise UserError(
            f"config.init_from: heads of the two towers are {sizes} wide in config.json; clip has one width."
        )
    return sizes.pop()


def config(model: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    patch_size = model.patch_size or NONE_IS["patch_size"]
    positions, _ = shapes["params/image/positions/embedding"]
    text = {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.max_length,
        "num_hidden_layers": model.num_text_layers,
        "eos_token_id": HIGHEST if model.end_token is None else model.end_token,
        "bos_token_id": None,
        "pad_token_id": None,
    }
    vision = {
        "patch_size": patch_size,
        "num_hidden_layers": model.num_image_layers or NONE_IS["num_image_layers"],
        "image_size": settings.side_of_grid(positions) * patch_size,
        "num_channels": shapes["params/image/patches/kernel"][2],
    }
    return {
        "projection_dim": model.embedding_size,
        "text_config": {**_sizes(model, model.text_hidden_size), **text},
        "vision_config": {**_sizes(model, model.image_hidden_size), **vision},
    }


def _sizes(model: Any, width: int) -> dict[str, Any]:
    return {
        **TOWER,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": width // model.head_size,
        "projection_dim": model.embedding_size,
        "attention_dropout": settings.attention_dropout(model, 0.0),
    }
