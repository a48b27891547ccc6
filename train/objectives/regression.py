"""Mean squared error."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from train import objectives


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `target` [B, outputs] or [B, steps, outputs]; the model gives as many numbers."""

    reads = ("target",)
    measures = ("loss",)

    def loss(
        self,
        model: nn.Module,
        variables: Mapping[str, Any],
        batch: objectives.Batch,
        *,
        rngs: Any,
        train: bool,
    ) -> tuple[objectives.Terms, objectives.Metrics, Any]:
        predictions, mutated, auxiliary = objectives.apply(model, variables, batch, rngs=rngs, train=train)
        if predictions.shape != batch["target"].shape:
            raise ValueError(
                f"the model gives {predictions.shape} but the targets are {batch['target'].shape}; set num_classes"
            )
        if auxiliary:
            raise ValueError("the model has an auxiliary head, which only classification judges; build it without")
        errors = jnp.square(predictions - batch["target"]).reshape(len(predictions), -1).mean(axis=-1)
        metrics = {"loss": objectives.weighted(errors, objectives.valid_rows(batch))}
        return [metrics["loss"]], metrics, mutated
