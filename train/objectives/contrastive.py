"""Symmetric cross-entropy of finding the text of each image, and the image of each text, in a batch (CLIP, Fig. 3)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from train import objectives


@dataclasses.dataclass(frozen=True)
class Objective:
    """The model gives logits [B, B], of each image with each text; those on the diagonal belong together.

    The batch is the global one, however devices share it. Rows that are not `valid` are neither asked nor answers. Loss
    and accuracies depend on how many pairs there are to choose from: compare them at equal batch sizes only.

    Attributes:
        compares_rows: Says that a batch must not be cut into micro-batches, which would take answers away.
    """

    reads = ("image", "tokens")
    measures = ("loss", "image_to_text_accuracy", "text_to_image_accuracy")
    compares_rows = True

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
        valid = objectives.valid_rows(batch)
        if logits.shape != valid.shape * 2:
            raise ValueError(
                f"the model gives {logits.shape}, not a logit for each pair of {len(valid)} images and texts"
            )
        logits = jnp.where(valid[:, None] & valid[None], logits, jnp.finfo(logits.dtype).min)

        def losses(axis: int) -> Array:
            return jax.nn.logsumexp(logits, axis=axis) - jnp.diagonal(logits)

        def correct(axis: int) -> Array:
            return (jnp.argmax(logits, axis=axis) == jnp.arange(len(valid))).astype(jnp.float32)

        texts, images = 1, 0  # what is chosen from
        metrics = {
            "loss": objectives.weighted((losses(texts) + losses(images)) / 2, valid),
            "image_to_text_accuracy": objectives.weighted(correct(texts), valid),
            "text_to_image_accuracy": objectives.weighted(correct(images), valid),
        }
        return [metrics["loss"]], metrics, mutated
