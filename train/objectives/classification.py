"""Cross-entropy over classes, with optional label smoothing (Szegedy et al., 2015, section 7)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from train import objectives
from train.errors import UserError


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `label` [B], or [B, places] with one label for every step, node or pixel; integers from 0.

    The model gives logits [B, classes] or [B, places, classes]. If the batch has `label_mask`, of the shape of `label`,
    only places where it is True count.

    Attributes:
        label_smoothing: probability that is spread over all classes.
        auxiliary_weight: of the loss of each auxiliary head, for models that have one; None is the 0.3 of Szegedy et
            al., 2014, section 5.
    """

    label_smoothing: float = 0.0
    auxiliary_weight: float | None = None

    reads = ("label",)
    measures = ("loss", "accuracy")
    reads_classes = True

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
        if getattr(model, "num_classes", 0) is None:
            raise ValueError("the model gives features; set num_classes to the number of classes")
        logits, mutated, auxiliary = objectives.apply(model, variables, batch, rngs=rngs, train=train)
        label = batch["label"]
        for output in (logits, *auxiliary):
            if output.shape[:-1] != label.shape:
                raise ValueError(f"the model gives logits {output.shape} but the labels are {label.shape}")
        if train and self.auxiliary_weight is not None and not auxiliary:
            raise ValueError("the model has no auxiliary head; leave out auxiliary_weight")

        valid = objectives.valid_places(batch, label.shape, "label_mask")
        correct = (jnp.argmax(logits, -1) == label).astype(jnp.float32)
        metrics = {
            "loss": objectives.weighted(self._losses(logits, label), valid),
            "accuracy": objectives.weighted(correct, valid),
        }
        loss = objectives.mean(metrics["loss"])
        weight = 0.3 if self.auxiliary_weight is None else self.auxiliary_weight
        for output in auxiliary:
            loss += weight * objectives.mean(objectives.weighted(self._losses(output, label), valid))
        return loss, metrics, mutated

    def _losses(self, logits: Array, label: Array) -> Array:
        return objectives.cross_entropy(logits, label, self.label_smoothing)
