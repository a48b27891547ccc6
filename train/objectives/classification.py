"""Cross-entropy over classes, with optional label smoothing (Szegedy et al., 2015, section 7) and side tasks."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from train import objectives
from train.errors import UserError
from train.objectives.language_modeling import next_tokens


@dataclasses.dataclass(frozen=True)
class Objective:
    """Reads `label` [B], or [B, places] with one label for every step, node or pixel; integers from 0.

    The model gives logits [B, classes] or [B, places, classes]. If the batch has `label_mask`, of the shape of `label`,
    only places where it is True count.

    Attributes:
        label_smoothing: probability that is spread over all classes.
        auxiliary_weight: of the loss of each auxiliary head, for models that have one; None is the 0.3 of Szegedy et
            al., 2014, section 5.
        language_model_weight: of the mean loss of each next token of `tokens`, for a gpt that also predicts these;
            Radford et al., 2018 (equation 5, section 4.1), take 0.5.
    """

    label_smoothing: float = 0.0
    auxiliary_weight: float | None = None
    language_model_weight: float | None = None

    measures = ("loss", "accuracy")
    reads_classes = True

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"config.objective.label_smoothing: {self.label_smoothing} is not from 0 to 1.")

    @property
    def reads(self) -> tuple[str, ...]:
        return ("label",) if self.language_model_weight is None else ("label", "tokens")

    def loss(
        self,
        model: nn.Module,
        variables: Mapping[str, Any],
        batch: objectives.Batch,
        *,
        rngs: Any,
        train: bool,
    ) -> tuple[objectives.Terms, objectives.Metrics, Any]:
        if getattr(model, "num_classes", 0) is None:
            raise ValueError("the model gives features; set num_classes to the number of classes")
        logits, mutated, auxiliary = objectives.apply(model, variables, batch, rngs=rngs, train=train)
        label = batch["label"]
        self._check(model, auxiliary, train)
        valid = objectives.valid_places(batch, label.shape, "label_mask")
        losses = self._losses(logits, label)
        correct = (jnp.argmax(logits, -1) == label).astype(jnp.float32)
        metrics = {"loss": objectives.weighted(losses, valid), "accuracy": objectives.weighted(correct, valid)}
        terms = [metrics["loss"]]
        for output in auxiliary:
            if self.language_model_weight is not None:
                terms.append(objectives.scaled(self.language_model_weight, next_tokens(output, batch)["loss"]))
            else:
                weight = 0.3 if self.auxiliary_weight is None else self.auxiliary_weight
                total, count = terms[0]  # which counts the same
                terms[0] = total + weight * objectives.weighted(self._losses(output, label), valid)[0], count
        return terms, metrics, mutated

    def _check(self, model: nn.Module, auxiliary: Sequence[Array], train: bool) -> None:
        """Raises ValueError if side outputs are asked for that the model does not give, or gives unasked."""
        predicts_tokens = getattr(model, "predicts_tokens", False)
        if train and self.auxiliary_weight is not None and (not auxiliary or predicts_tokens):
            raise ValueError("the model has no auxiliary head; leave out auxiliary_weight")
        if predicts_tokens != (self.language_model_weight is not None):
            has = "predicts" if predicts_tokens else "does not predict"
            raise ValueError(
                f"the model {has} tokens; set predicts_tokens of a gpt and language_model_weight, or neither"
            )

    def _losses(self, logits: Array, label: Array) -> Array:
        if logits.shape[:-1] != label.shape:
            raise ValueError(f"the model gives logits {logits.shape} but the labels are {label.shape}")
        return objectives.cross_entropy(logits, label, self.label_smoothing)
