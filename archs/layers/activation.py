"""Activation functions by name."""

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import jax
from flax import linen as nn
from jax import numpy as jnp

Activation = Literal["relu", "gelu", "gelu_tanh", "quick_gelu", "tanh", "scaled_tanh", "sigmoid"]


def scaled_tanh(x: jax.Array) -> jax.Array:
    """A tanh(2/3 x) with A = 1.7159, so that f(1) = 1 and f(-1) = -1 (LeCun et al., 1998, appendix A)."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


def quick_gelu(x: jax.Array) -> jax.Array:
    """x σ(1.702 x), the approximation of x Φ(x) (Hendrycks and Gimpel, 2016) that CLIP uses."""
    return x * nn.sigmoid(1.702 * x)


# "gelu" is x Φ(x) itself; "gelu_tanh" is the approximation that GPT and BERT's first release use.
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "gelu": functools.partial(nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "tanh": jnp.tanh,
    "scaled_tanh": scaled_tanh,
    "sigmoid": nn.sigmoid,
}
