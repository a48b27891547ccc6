"""Activation functions by name."""

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import jax
from flax import linen as nn
from jax import numpy as jnp

Activation = Literal["relu", "gelu", "gelu_tanh", "tanh", "scaled_tanh", "sigmoid"]


def scaled_tanh(x: jax.Array) -> jax.Array:
    """A tanh(2/3 x) with A = 1.7159, so that f(1) = 1 and f(-1) = -1 (LeCun et al., 1998, appendix A)."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


# "gelu" is x Φ(x) itself; "gelu_tanh" is the approximation that GPT and BERT's first release use.
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": functools.partial(nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),
    "tanh": jnp.tanh,
    "scaled_tanh": scaled_tanh,
    "sigmoid": nn.sigmoid,
}
