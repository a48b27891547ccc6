"""Scaled dot-product attention over all pairs of positions (Vaswani et al., 2017, eq. 1).

Honours mask, causality and cross-attention. Time is quadratic in length. Attention dropout, and sowing the
weights, need the T×S matrix of weights in memory, so they take the plain path; otherwise JAX chooses the
kernel.
"""

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float


def attention_weights(
    q: Float[Array, "B T H K"], k: Float[Array, "B S H K"], *, mask: Bool[Array, "B S"] | None, causal: bool
) -> Float[Array, "B H T S"]:
    """softmax(q kᵀ / √K) over the visible keys, in at least float32 whatever the type of q."""
    length, memory_length = q.shape[1], k.shape[1]
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("bthk,bshk->bhts", q, k, preferred_element_type=wide) / q.shape[-1] ** 0.5
    visible = jnp.ones((1, 1, length, memory_length), bool)
    if causal:
        visible = jnp.tril(visible)
    if mask is not None:
        visible = visible & mask[:, None, None, :]
    return nn.softmax(jnp.where(visible, scores, jnp.finfo(wide).min))


class Mixer(nn.Module):
    """Attention proper: every query reads every visible key.

    Sows the weights [B, H, T, S] as `intermediates/weights` when that collection is mutable.

    Attributes:
        dropout_rate: Share of attention weights dropped in training.
    """

    dropout_rate: float = 0.0

    @nn.compact
    def __call__(
        self,
        q: Float[Array, "B T H K"],
        k: Float[Array, "B S H K"],
        v: Float[Array, "B S H K"],
        *,
        mask: Bool[Array, "B S"] | None = None,
        causal: bool = False,
        train: bool = False,
    ) -> Float[Array, "B T H K"]:
        sowing = self.is_mutable_collection("intermediates")
        if not sowing and not (train and self.dropout_rate):
            visible = None if mask is None else mask[:, None, None, :]
            return jax.nn.dot_product_attention(q, k, v, mask=visible, is_causal=causal)
        weights = attention_weights(q, k, mask=mask, causal=causal)
        self.sow("intermediates", "weights", weights)
        weights = nn.Dropout(self.dropout_rate, deterministic=not train)(weights)
        return jnp.einsum("bhts,bshk->bthk", weights.astype(v.dtype), v)
