"""GPT-2, whose linear maps are `Conv1D`, not transposed, and whose queries, keys and values are one map."""

from collections.abc import Mapping
from typing import Any

from train.pretrained import settings
from train.pretrained.tables import (
    HEADS_BIAS,
    HEADS_IN_CONV1D,
    HEADS_OUT_CONV1D,
    LINEAR,
    MATRIX,
    Entry,
    Head,
    Shape,
    heads_out,
    linear,
    norm,
    within,
)

MODEL_TYPE = "gpt2"
ARCHITECTURE = "gpt"
PREFIX = "transformer."

PROJECTIONS = ("query", "key", "value")
LAYERS = within(  # openai-gpt has the same
    "h.{layer}",
    "blocks/layer_{layer}",
    norm("ln_1", "attention_norm"),
    (
        Entry(("attn.c_attn.weight",), tuple(f"attention/{name}/kernel" for name in PROJECTIONS), HEADS_IN_CONV1D),
        Entry(("attn.c_attn.bias",), tuple(f"attention/{name}/bias" for name in PROJECTIONS), HEADS_BIAS),
    ),
    heads_out("attn.c_proj", "attention/output", layout=HEADS_OUT_CONV1D),
    norm("ln_2", "mlp_norm"),
    linear("mlp.c_fc", "mlp/inner", layout=MATRIX),
    linear("mlp.c_proj", "mlp/outer", layout=MATRIX),
)
BODY = (
    Entry(("wte.weight", "lm_head.weight"), ("embedding/embedding",), MATRIX),
    Entry(("wpe.weight",), ("positions/embedding",), MATRIX),
    *LAYERS,
    *norm("ln_f", "norm"),
)
SCORE = (Entry(("score.weight",), ("head/kernel",), LINEAR, part="head"),)
HEADS = {
    "language_model": Head("GPT2LMHeadModel"),
    "sequence": Head("GPT2ForSequenceClassification", SCORE),
    "tokens": Head("GPT2ForTokenClassification", linear("classifier", "head", part="head")),
    "none": Head("GPT2Model"),
}
BUFFERS = ("h.{layer}.attn.bias", "h.{layer}.attn.masked_bias")  # masks of causality
# The second head of `GPT2DoubleHeadsModel`, which `Model` does not have.
UNUSED = ("multiple_choice_head.summary.weight", "multiple_choice_head.summary.bias")

FIXED_HERE = {"norm": "pre"}
FIXED_THERE = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
RENAMED: settings.Renamed = {
    "vocab_size": ("vocab_size", 50_257),
    "max_length": ("n_positions", 1024),
    "hidden_size": ("n_embd", 768),
    "num_layers": ("n_layer", 12),
    "num_heads": ("n_head", 12),
    "norm_epsilon": ("layer_norm_epsilon", 1e-5),
}
END = 50_256  # transformers' default for the token that begins and ends a text


def head(model: Any) -> str:
    return model.head


def fields(config: Mapping[str, Any]) -> dict[str, Any]:
    same = settings.read(RENAMED, config)
    activation = settings.read_activation(config.get("activation_function", "gelu_new"))
    return {**same, "mlp_size": config.get("n_inner") or 4 * same["hidden_size"], "activation": activation}


def config(model: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    end = END if model.vocab_size > END else None
    return {
        **settings.write(RENAMED, model),
        "n_inner": model.mlp_size,
        "activation_function": settings.write_activation(model.activation),
        "resid_pdrop": model.dropout_rate,
        "embd_pdrop": model.dropout_rate,
        "attn_pdrop": settings.attention_dropout(model, model.dropout_rate),
        "bos_token_id": end,
        "eos_token_id": end,
    }
