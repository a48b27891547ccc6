"""Cross-entropy over classes, with optional label smoothing (Szegedy et al., 2015, section 7)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array

from train import objectives
from train.errors import UserError


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `label` [B], integers from 0; the model gives logits [B, classes].

    Attributes:
        label_smoothing: probability that is spread over all classes.
    """

    label_smoothing: float = 0.0

    reads = ("label",)
    measures = ("loss", "accuracy")

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
    ) -> tuple[Array, objectives.Metrics, Any]:
        if model.num_classes is None:
            raise ValueError("the model gives features; set num_classes to the number of classes")
        logits, mutated = objectives.apply(model, variables, batch, rngs=rngs, train=train)
        targets = optax.smooth_labels(nn.one_hot(batch["label"], logits.shape[-1]), self.label_smoothing)
        # A label beyond the model's classes must not pass as an example without loss.
        is_class = (batch["label"] >= 0) & (batch["label"] < logits.shape[-1])
        losses = jnp.where(is_class, optax.softmax_cross_entropy(logits, targets), jnp.nan)
        correct = (jnp.argmax(logits, -1) == batch["label"]).astype(jnp.float32)
        valid = objectives.valid_rows(batch)
        metrics = {
            "loss": objectives.weighted(losses, valid),
            "accuracy": objectives.weighted(correct, valid),
        }
        return objectives.mean(metrics["loss"]), metrics, mutated
