"""GPT-1: layers as those of GPT-2, and normalisation after each sum."""

from collections.abc import Mapping
from typing import Any

from train.pretrained import settings
from train.pretrained.gpt2 import BUFFERS as BUFFERS
from train.pretrained.gpt2 import LAYERS, SCORE
from train.pretrained.gpt2 import UNUSED as UNUSED
from train.pretrained.tables import MATRIX, Entry, Head, Shape

MODEL_TYPE = "openai-gpt"
ARCHITECTURE = "gpt"
PREFIX = "transformer."

BODY = (
    Entry(("tokens_embed.weight", "lm_head.weight"), ("embedding/embedding",), MATRIX),
    Entry(("positions_embed.weight",), ("positions/embedding",), MATRIX),
    *LAYERS,
)
HEADS = {
    "language_model": Head("OpenAIGPTLMHeadModel"),
    "sequence": Head("OpenAIGPTForSequenceClassification", SCORE),
    "none": Head("OpenAIGPTModel"),
}

FIXED_HERE = {"norm": "post"}
FIXED_THERE: dict[str, Any] = {}
RENAMED: settings.Renamed = {
    "vocab_size": ("vocab_size", 40_478),
    "max_length": ("n_positions", 512),
    "hidden_size": ("n_embd", 768),
    "num_layers": ("n_layer", 12),
    "num_heads": ("n_head", 12),
    "norm_epsilon": ("layer_norm_epsilon", 1e-5),
}
ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu"}  # "gelu" names the approximation in this family


def head(model: Any) -> str:
    return model.head


def fields(config: Mapping[str, Any]) -> dict[str, Any]:
    same = settings.read(RENAMED, config)
    activation = settings.read_activation(config.get("afn", "gelu"), ACTIVATIONS)
    return {**same, "mlp_size": 4 * same["hidden_size"], "activation": activation}


def config(model: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    return {
        **settings.write(RENAMED, model),
        "afn": settings.write_activation(model.activation, ACTIVATIONS),
        "resid_pdrop": model.dropout_rate,
        "embd_pdrop": model.dropout_rate,
        "attn_pdrop": settings.attention_dropout(model, model.dropout_rate),
    }
