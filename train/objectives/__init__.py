"""What is minimised. Each module has an `Objective`: a frozen dataclass whose method

    loss(model, variables, batch, *, rngs, train) -> terms, metrics, mutated collections

gives the terms of the loss over the valid examples of a batch, and its metrics, each as a pair (sum, count), so that it
is exact when summed over devices, micro-batches and a last batch filled up with rows that are not `valid`. The loss is
the sum of the means that its terms stand for.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Batch = Mapping[str, Any]
Metrics = dict[str, Any]  # Pairs (sum, count) of arrays.
Terms = list[tuple[Array, Array]]  # Likewise; a term with a weight has it in its sum.

AUXILIARY = "auxiliary"  # The collection of outputs besides the model's own, such as logits of a side head.


def input_names(model: nn.Module) -> dict[str, bool]:
    """The batch keys that the model reads, by the names of its arguments, and whether each is required."""
    parameters = list(inspect.signature(type(model).__call__).parameters.values())[1:]
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}


def model_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """The entries of the batch that the model reads."""
    return {key: batch[key] for key in input_names(model) if key in batch}


def apply(
    model: nn.Module, variables: Mapping[str, Any], batch: Batch, *, rngs: Any, train: bool
) -> tuple[Any, Any, list[Array]]:
    """The model's output, the collections that training changes (such as batch statistics), and auxiliary outputs.

    Auxiliary outputs are what the model sows into the collection `auxiliary`, to be judged like its output. Some models
    do so in training only.
    """
    changing = [collection for collection in variables if train and collection != "params"]
    output, mutated = model.apply(
        variables, **model_inputs(model, batch), train=train, rngs=rngs, mutable=[AUXILIARY, *changing]
    )
    kept = {collection: values for collection, values in mutated.items() if collection != AUXILIARY}
    return output, kept, jax.tree.leaves(mutated.get(AUXILIARY, {}))


def cross_entropy(
    logits: Float[Array, "*places classes"], label: Int[Array, "*places"], label_smoothing: float
) -> Float[Array, "*places"]:
    """Cross-entropy at every place, `label_smoothing` of the probability spread over all classes.

    It is NaN where the label is no class of the model's: that must not pass as an example without loss.
    """
    is_class = (label >= 0) & (label < logits.shape[-1])
    # No array of targets is made: with a large vocabulary, passes over the logits cost as much as their product.
    of_label = jnp.take_along_axis(logits, jnp.where(is_class, label, 0)[..., None], axis=-1)[..., 0]
    expected = (
        of_label if label_smoothing == 0 else (1 - label_smoothing) * of_label + label_smoothing * logits.mean(-1)
    )
    return jnp.where(is_class, jax.nn.logsumexp(logits, axis=-1) - expected, jnp.nan)


def weighted(values: Float[Array, "B *places"], valid: Bool[Array, "B *places"]) -> tuple[Array, Array]:
    """The sum of the valid values, and their count."""
    return jnp.sum(jnp.where(valid, values, 0.0)), jnp.sum(valid, dtype=jnp.float32)


def valid_rows(batch: Batch) -> Bool[Array, " B"]:
    """Which rows are examples; the rest fills up the last batch of an evaluation."""
    size = len(jax.tree.leaves(dict(batch))[0])
    return batch.get("valid", jnp.ones(size, bool))


def valid_places(batch: Batch, shape: tuple[int, ...], mask: str) -> Bool[Array, "B *places"]:
    """Which places of an array of this shape count: in rows that are examples, those that the entry `mask` allows."""
    rows = valid_rows(batch).reshape(-1, *(1,) * (len(shape) - 1))
    return jnp.broadcast_to(rows, shape) & batch.get(mask, jnp.ones(shape, bool))


def mean(pair: tuple[Array, Array]) -> Array:
    """The mean that a (sum, count) pair stands for; 0 where nothing was counted."""
    total, count = pair
    return total / jnp.maximum(count, 1.0)


def total(terms: Terms) -> Array:
    """The loss: the sum of the means of its terms."""
    return sum((mean(term) for term in terms), jnp.zeros(()))


def scaled(weight: float, pair: tuple[Array, Array]) -> tuple[Array, Array]:
    """A term of the loss with a weight."""
    return weight * pair[0], pair[1]
