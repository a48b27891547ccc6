"""Positions: attention sees a set, so the place of each token is added to its embedding."""

from typing import Literal

import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float, Int

from archs.layers.fields import Dtype


def sinusoids(places: Int[Array, "*places"], width: int) -> Float[Array, "*places D"]:
    """Sines at even, cosines at odd channels, of wavelengths 2π to 20000π (Vaswani et al., 2017, section 3.5).

    Raises:
        ValueError: The width is odd.
    """
    if width % 2:
        raise ValueError(f"positions: 'sinusoidal' needs an even hidden_size, and it is {width}")
    frequencies = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = places[..., None] * jnp.asarray(frequencies).reshape((1,) * places.ndim + (-1,))
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*places.shape, width)


class Positions(nn.Module):
    """Adds an embedding of its position to each token.

    Attributes:
        kind: A learned vector for each position, the fixed sinusoids of Vaswani et al. (2017), or nothing.
        max_length: Number of learned positions; shorter inputs use the first of them.
        init_std: Deviation of learned positions at the start.
        dtype: Type of the computation.
        param_dtype: Type of the parameters.
    """

    kind: Literal["learned", "sinusoidal", "none"]
    max_length: int
    init_std: float = 0.02
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], places: Int[Array, "B T"] | None = None) -> Float[Array, "B T D"]:
        """Adds the positions from 0 on, or `places`, which must be less than `max_length`.

        Raises ValueError if x is longer than the learned positions, or too odd for sinusoids.
        """
        _, length, width = x.shape
        if self.kind == "none":
            return x
        if self.kind == "sinusoidal":
            places = jnp.arange(length)[None] if places is None else places
            return x + sinusoids(places, width).astype(self.dtype)
        if length > self.max_length:
            raise ValueError(
                f"positions: the input has {length} tokens, and max_length is {self.max_length}; "
                "shorten the input or raise max_length"
            )
        init = nn.initializers.normal(self.init_std)
        embedding = self.param("embedding", init, (self.max_length, width), self.param_dtype)
        chosen = embedding[None, :length] if places is None else embedding[places]
        return x + chosen.astype(self.dtype)
