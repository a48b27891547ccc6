"""Cross-entropy over classes, with optional label smoothing (Szegedy et al., 2015, section 7)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array

from train import objectives


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `label` [B], integers from 0; the model gives logits [B, classes].

    Attributes:
        label_smoothing: probability that is spread over all classes.
    """

    label_smoothing: float = 0.0

    reads = ("label",)

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
        losses = optax.softmax_cross_entropy(logits, targets)
        correct = (jnp.argmax(logits, -1) == batch["label"]).astype(jnp.float32)
        valid = objectives.valid_rows(batch)
        metrics = {
            "loss": objectives.weighted(losses, valid),
            "accuracy": objectives.weighted(correct, valid),
        }
        return objectives.mean(metrics["loss"]), metrics, mutated
