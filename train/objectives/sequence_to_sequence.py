"""Cross-entropy of a target sequence given a source sequence, each token predicted from the true ones before it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from train import objectives
from train.errors import UserError


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `target` [B, T], tokens that end with the end token; the model gives logits [B, T, vocabulary].

    If the batch has `target_mask` [B, T], only tokens where it is True count. Loss and accuracy are means over tokens,
    `sequence_accuracy` is the share of targets whose every token is predicted right.

    Attributes:
        label_smoothing: probability that is spread over the whole vocabulary.
    """

    label_smoothing: float = 0.0

    reads = ("source", "target")
    measures = ("loss", "accuracy", "sequence_accuracy")

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"config.objective.label_smoothing: {self.label_smoothing} is not from 0 to 1.")

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
        target = batch["target"]
        if logits.shape[:-1] != target.shape:
            raise ValueError(f"the model gives {logits.shape}, not logits for the targets {target.shape}")
        valid = objectives.valid_places(batch, target.shape, "target_mask")
        correct = jnp.argmax(logits, -1) == target
        metrics = {
            "loss": objectives.weighted(objectives.cross_entropy(logits, target, self.label_smoothing), valid),
            "accuracy": objectives.weighted(correct.astype(jnp.float32), valid),
            "sequence_accuracy": objectives.weighted(
                jnp.all(correct | ~valid, axis=-1).astype(jnp.float32), objectives.valid_rows(batch)
            ),
        }
        return [metrics["loss"]], metrics, mutated
