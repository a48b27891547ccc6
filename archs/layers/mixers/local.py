"""Attention within a sliding window (Longformer: Beltagy, Peters and Cohan, 2020, https://arxiv.org/abs/2004.05150).

A query sees the keys at most `window_size` positions from it, to either side, or before it only if causal. (The window
of Longformer is both sides together. The "local attention" of Long Range Arena is something else: groups of positions
that do not see each other.)

Honours mask, causality and cache. Positions are cut into blocks as long as the window, and each block reads itself and
its neighbours, so work and memory grow with length times window; with a cache, with new positions times all.
"""

from typing import ClassVar

import numpy as np
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float

from archs.layers.fields import Dtype
from archs.layers.mixers import dense


def with_neighbours(blocks: Float[Array, "B N *rest"] | Bool[Array, "B N *rest"], causal: bool) -> Array:
    """Each block behind the one before it and, unless causal, before the one after it, in one; zeros past the ends."""
    count = blocks.shape[1]
    ends = ((0, 0), (1, 0 if causal else 1)) + ((0, 0),) * (blocks.ndim - 2)
    padded = jnp.pad(blocks, ends)
    return jnp.concatenate([padded[:, start : start + count] for start in range(2 if causal else 3)], axis=2)


class Mixer(nn.Module):
    """Softmax attention over the keys in a window around each query.

    What is computed at padding means nothing, and whatever stands there, NaN included, reaches nothing else.

    Attributes:
        window_size: Keys that a query sees to each side, besides the one at its own position.
        dropout_rate: Share of attention weights dropped in training; None leaves it to the model, where it drops them.
        dtype, param_dtype: Not used: the values decide, and there are no parameters.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"mask", "causal", "cache"})
    reads: ClassVar[tuple[str, ...]] = ("query", "key")

    window_size: int = 128
    dropout_rate: float | None = None
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        q: Float[Array, "B T H K"],
        k: Float[Array, "B S H K"],
        v: Float[Array, "B S H V"],
        *,
        mask: Bool[Array, "B S"] | None = None,
        causal: bool = False,
        offset: dense.Offset | None = None,
        train: bool = False,
    ) -> Float[Array, "B T H V"]:
        drop = nn.Dropout(self.dropout_rate or 0.0, deterministic=not train)
        if offset is not None:
            return self.continued(q, k, v, mask, causal, offset, drop)
        batch, length = v.shape[:2]
        mask = jnp.ones((batch, length), bool) if mask is None else mask
        q, k, v = (jnp.where(mask[..., None, None], x, 0) for x in (q, k, v))
        size = min(self.window_size, length)

        def blocks(x: Array) -> Array:
            padded = jnp.pad(x, ((0, 0), (0, -length % size)) + ((0, 0),) * (x.ndim - 2))
            return padded.reshape(batch, -1, size, *x.shape[2:])

        def fold(x: Array) -> Array:
            """Blocks as further examples of a batch."""
            return x.reshape(-1, *x.shape[2:])

        k, v, real = (fold(with_neighbours(blocks(x), causal)) for x in (k, v, mask))
        distances = np.arange(real.shape[1])[None] - size - np.arange(size)[:, None]  # from each query to each key
        within = (abs(distances) <= size) & (distances <= 0 if causal else True)
        visible = real[:, None, None, :] & within[None, None]
        weights = drop(dense.attention_weights(fold(blocks(q)), k, visible))
        mixed = jnp.einsum("bhts,bshv->bthv", weights.astype(v.dtype), v)
        return mixed.reshape(batch, -1, *v.shape[2:])[:, :length]

    def continued(
        self,
        q: Float[Array, "B T H K"],
        k: Float[Array, "B S H K"],
        v: Float[Array, "B S H V"],
        mask: Bool[Array, "B S"] | None,
        causal: bool,
        offset: dense.Offset,
        drop: nn.Dropout,
    ) -> Float[Array, "B T H V"]:
        """The same for few queries, which begin at `offset` among the keys."""
        distances = jnp.arange(k.shape[1])[None] - offset - jnp.arange(q.shape[1])[:, None]
        visible = dense.visible_keys(q.shape[1], k.shape[1], mask, causal, offset)
        weights = drop(dense.attention_weights(q, k, visible & (jnp.abs(distances) <= self.window_size)[None, None]))
        return jnp.einsum("bhts,bshv->bthv", weights.astype(v.dtype), v)
