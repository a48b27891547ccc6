"""What is minimised. Each module has an `Objective`: a frozen dataclass whose method

    loss(model, variables, batch, *, rngs, train) -> scalar, metrics, mutated collections

gives the mean loss over the valid examples of a batch, and every metric as a pair (sum, count), so that it is exact
when summed over devices, micro-batches and a last batch filled up with rows that are not `valid`.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Batch = Mapping[str, Any]
Metrics = dict[str, Any]  # Pairs (sum, count) of arrays.


def input_names(model: nn.Module) -> dict[str, bool]:
    """The batch keys that the model reads, by the names of its arguments, and whether each is required."""
    parameters = list(inspect.signature(type(model).__call__).parameters.values())[1:]
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}


def model_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """The entries of the batch that the model reads."""
    return {key: batch[key] for key in input_names(model) if key in batch}


def apply(model: nn.Module, variables: Mapping[str, Any], batch: Batch, *, rngs: Any, train: bool) -> tuple[Any, Any]:
    """The model's output, and the collections that training changes (such as batch statistics)."""
    inputs = model_inputs(model, batch)
    if not train:
        return model.apply(variables, **inputs, train=False), {}
    mutable = [collection for collection in variables if collection != "params"]
    output, mutated = model.apply(variables, **inputs, train=True, rngs=rngs, mutable=mutable)
    return output, mutated


def weighted(values: Float[Array, " B"], valid: Bool[Array, " B"]) -> tuple[Array, Array]:
    """The sum of the valid values, and their count."""
    return jnp.sum(jnp.where(valid, values, 0.0)), jnp.sum(valid, dtype=jnp.float32)


def valid_rows(batch: Batch) -> Bool[Array, " B"]:
    """Which rows are examples; the rest fills up the last batch of an evaluation."""
    size = len(jax.tree.leaves(dict(batch))[0])
    return batch.get("valid", jnp.ones(size, bool))


def mean(pair: tuple[Array, Array]) -> Array:
    """The mean that a (sum, count) pair stands for; 0 where nothing was counted."""
    total, count = pair
    return total / jnp.maximum(count, 1.0)
