"""Cross-entropy of every token given those before it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from train import objectives


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `tokens` [B, T]; the model gives logits [B, T, vocabulary], those at t of the token at t + 1.

    If the batch has `mask` [B, T], True at real tokens, a token counts if it and the one before it are real. Loss, in
    nats, and accuracy are means over the tokens that count; the perplexity is the exponential of that loss.
    """

    reads = ("tokens",)
    measures = ("loss", "accuracy")
    reads_classes = True

    def loss(
        self,
        model: nn.Module,
        variables: Mapping[str, Any],
        batch: objectives.Batch,
        *,
        rngs: Any,
        train: bool,
    ) -> tuple[Array, objectives.Metrics, Any]:
        logits, mutated, _ = objectives.apply(model, variables, batch, rngs=rngs, train=train)
        tokens = batch["tokens"]
        sees_both_sides = getattr(model, "head", None) == "masked_language_model"
        if sees_both_sides or logits.shape != (*tokens.shape, model.vocab_size):
            given = "logits of tokens that it has seen" if sees_both_sides else str(logits.shape)
            raise ValueError(
                f"the model gives {given}, not logits {(*tokens.shape, model.vocab_size)} of the next tokens; "
                "take a causal model with head='language_model'"
            )
        real = objectives.valid_places(batch, tokens.shape, "mask")
        valid, predicted, target = real[:, :-1] & real[:, 1:], logits[:, :-1], tokens[:, 1:]
        correct = jnp.argmax(predicted, -1) == target
        metrics = {
            "loss": objectives.weighted(objectives.cross_entropy(predicted, target, 0.0), valid),
            "accuracy": objectives.weighted(correct.astype(jnp.float32), valid),
        }
        return objectives.mean(metrics["loss"]), metrics, mutated
