"""BERT."""

from collections.abc import Mapping
from typing import Any

from train.pretrained import settings
from train.pretrained.tables import MATRIX, VECTOR, Entry, Head, Shape, heads_in, heads_out, linear, norm, within

MODEL_TYPE = "bert"
ARCHITECTURE = "bert"
PREFIX = "bert."

BODY = (
    Entry(("embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"), ("embedding/embedding",), MATRIX),
    Entry(("embeddings.position_embeddings.weight",), ("positions/embedding",), MATRIX),
    Entry(("embeddings.token_type_embeddings.weight",), ("types/embedding",), MATRIX),
    *norm("embeddings.LayerNorm", "norm"),
    *within(
        "encoder.layer.{layer}",
        "blocks/layer_{layer}",
        heads_in("attention.self.query", "attention/query"),
        heads_in("attention.self.key", "attention/key"),
        heads_in("attention.self.value", "attention/value"),
        heads_out("attention.output.dense", "attention/output"),
        norm("attention.output.LayerNorm", "attention_norm"),
        linear("intermediate.dense", "mlp/inner"),
        linear("output.dense", "mlp/outer"),
        norm("output.LayerNorm", "mlp_norm"),
    ),
    *linear("pooler.dense", "pooler", part="pooler"),
)
VOCABULARY = (
    *linear("cls.predictions.transform.dense", "head/dense", part="head"),
    *norm("cls.predictions.transform.LayerNorm", "head/norm", part="head"),
    Entry(("cls.predictions.bias", "cls.predictions.decoder.bias"), ("head/bias",), VECTOR, part="head"),
)
NEXT_SENTENCE = linear("cls.seq_relationship", "next_sentence_head/dense", part="head")
CLASSIFIER = linear("classifier", "head/dense", part="head")
HEADS = {
    "masked_language_model": Head("BertForMaskedLM", VOCABULARY),
    "pretraining": Head("BertForPreTraining", VOCABULARY + NEXT_SENTENCE),
    "sequence": Head("BertForSequenceClassification", CLASSIFIER),
    "tokens": Head("BertForTokenClassification", CLASSIFIER),
    "none": Head("BertModel"),
}
BUFFERS = ("embeddings.position_ids",)  # 0, 1, 2, …
UNUSED = ()

FIXED_HERE: dict[str, Any] = {}
FIXED_THERE = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
RENAMED: settings.Renamed = {
    "vocab_size": ("vocab_size", 30_522),
    "max_length": ("max_position_embeddings", 512),
    "num_types": ("type_vocab_size", 2),
    "hidden_size": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "mlp_size": ("intermediate_size", 3072),
    "norm_epsilon": ("layer_norm_eps", 1e-12),
}


def head(model: Any) -> str:
    return "pretraining" if model.next_sentence else model.head


def fields(config: Mapping[str, Any]) -> dict[str, Any]:
    activation = settings.read_activation(config.get("hidden_act", "gelu"))
    return {**settings.read(RENAMED, config), "activation": activation}


def config(model: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    return {
        **settings.write(RENAMED, model),
        "hidden_act": settings.write_activation(model.activation),
        "hidden_dropout_prob": model.dropout_rate,
        "attention_probs_dropout_prob": settings.attention_dropout(model, model.dropout_rate),
    }
