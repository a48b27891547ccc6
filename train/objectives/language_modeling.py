"""Cross-entropy of every token given those before it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from train import objectives


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `tokens` [B, T]; the model gives logits [B, T, vocabulary], those at t of the token at t + 1.

    It must be causal: have head="language_model", or say `causal` of itself.

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
    ) -> tuple[objectives.Terms, objectives.Metrics, Any]:
        logits, mutated, _ = objectives.apply(model, variables, batch, rngs=rngs, train=train)
        _check(model, logits.shape, batch["tokens"].shape)
        metrics = next_tokens(logits, batch)
        return [metrics["loss"]], metrics, mutated


def next_tokens(logits: Float[Array, "B T V"], batch: objectives.Batch) -> objectives.Metrics:
    """Loss and accuracy of the logits at t as a prediction of the token at t + 1, where both tokens are real."""
    tokens = batch["tokens"]
    real = objectives.valid_places(batch, tokens.shape, "mask")
    valid, predicted, target = real[:, :-1] & real[:, 1:], logits[:, :-1], tokens[:, 1:]
    correct = jnp.argmax(predicted, -1) == target
    return {
        "loss": objectives.weighted(objectives.cross_entropy(predicted, target, 0.0), valid),
        "accuracy": objectives.weighted(correct.astype(jnp.float32), valid),
    }


def _check(model: nn.Module, logits: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    """Raises ValueError unless the model gives logits of the next tokens, and has not seen them."""
    if not (getattr(model, "causal", False) or getattr(model, "head", None) == "language_model"):
        raise ValueError(
            "the model sees the tokens that it should predict; take a causal one: gpt with head='language_model', tcn, "
            "or rnn with bidirectional=False"
        )
    expected = (*tokens, getattr(model, "vocab_size", None))
    if logits != expected:
        raise ValueError(
            f"the model gives {logits}, not logits {expected} of the next tokens; set outputs='all' and num_classes to "
            "vocab_size, or head='language_model', whichever it has"
        )
