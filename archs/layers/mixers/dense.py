"""Scaled dot-product attention over all pairs of positions (Vaswani et al., 2017, eq. 1).

Honours mask, causality, cross-attention and cache. Work is quadratic in length; memory is linear, but where the
matrix of weights itself is wanted: to drop some of them, or to sow them.
"""

import functools
from typing import ClassVar, Literal

import jax
from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from archs.layers import chunked_attention, fused_attention
from archs.layers.fields import Dtype

Offset = Int[Array, ""] | int
LONG = 1024  # positions beyond which the matrix of weights is what fills memory


def visible_keys(
    length: int, memory_length: int, mask: Bool[Array, "B S"] | None, causal: bool, offset: Offset = 0
) -> Bool[Array, "_ 1 T S"]:
    """Which keys each query may see: those that are real and, if causal, no later than it; `offset` is query 0."""
    visible = jnp.ones((1, 1, length, memory_length), bool)
    if causal:
        places = offset + jnp.arange(length)
        visible = (jnp.arange(memory_length)[None] <= places[:, None])[None, None]
    return visible if mask is None else visible & mask[:, None, None, :]


def attention_weights(
    q: Float[Array, "B T H K"], k: Float[Array, "B S H K"], visible: Bool[Array, "_ 1 T S"]
) -> Float[Array, "B H T S"]:
    """softmax(q kᵀ / √K) over the visible keys, in at least float32 whatever the type of q."""
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("bthk,bshk->bhts", q, k, preferred_element_type=wide) / q.shape[-1] ** 0.5
    return nn.softmax(jnp.where(visible, scores, jnp.finfo(wide).min))


def plain(
    q: Float[Array, "B T H K"], k: Float[Array, "B S H K"], v: Float[Array, "B S H V"], visible: Bool[Array, "_ 1 T S"]
) -> Float[Array, "B T H V"]:
    """The formula, with its matrix of weights: what other kernels are compared with."""
    return jnp.einsum("bhts,bshv->bthv", attention_weights(q, k, visible).astype(v.dtype), v)


class Mixer(nn.Module):
    """Attention proper: every query reads every visible key. What stands at padding reaches nothing if it is finite.

    Sows the weights [B, H, T, S] as `intermediates/weights` when that collection is mutable.

    Attributes:
        dropout_rate: Share of attention weights dropped in training; None leaves it to the model, where it drops them.
        kernel: "plain" is the formula; "chunked" needs memory linear in length on any device; "fused" is the device's
            own kernel (see `fused_attention`): cuDNN's on NVIDIA GPUs in half precision, a Pallas kernel on TPUs.
            "auto" is the formula up to 1,024 positions, and beyond them "fused" where it can be, else "chunked"; on
            GPUs it is "fused" at any length where it can be. Where weights are dropped or sown, or queries come later
            than the first keys, it is the formula in any case.
        dtype, param_dtype: Not used: the values decide, and there are no parameters.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"mask", "causal", "cross", "cache"})
    reads: ClassVar[tuple[str, ...]] = ("query", "key")

    dropout_rate: float | None = None
    kernel: Literal["auto", "plain", "chunked", "fused"] = "auto"
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
        offset: Offset | None = None,
        train: bool = False,
    ) -> Float[Array, "B T H V"]:
        """Raises ValueError if the kernel asked for cannot take these inputs on this device."""
        visible = functools.partial(visible_keys, q.shape[1], k.shape[1], mask, causal)
        if self.is_mutable_collection("intermediates") or (train and self.dropout_rate):
            weights = attention_weights(q, k, visible(0 if offset is None else offset))
            self.sow("intermediates", "weights", weights)
            weights = nn.Dropout(self.dropout_rate or 0.0, deterministic=not train)(weights)
            return jnp.einsum("bhts,bshv->bthv", weights.astype(v.dtype), v)
        if offset is not None:  # but for a first prompt these are few queries, and their weights small
            return plain(q, k, v, visible(offset))
        kernel = self.chosen(q, k, v, mask)
        if kernel == "plain":
            return plain(q, k, v, visible())
        attend = chunked_attention.attend if kernel == "chunked" else fused_attention.attend
        return attend(q, k, v, mask=mask, causal=causal)

    def chosen(self, q: Array, k: Array, v: Array, mask: Array | None) -> str:
        """The kernel for these inputs on the device at hand."""
        if self.kernel not in ("auto", "fused"):
            return self.kernel
        refusal = fused_attention.refusal(q, k, v, mask)
        if self.kernel == "fused":
            if refusal:
                raise ValueError(f"mixer dense: kernel 'fused' {refusal}; choose 'auto', 'chunked' or 'plain'")
            return "fused"
        is_long = max(q.shape[1], k.shape[1]) > LONG
        if not refusal and (is_long or jax.default_backend() == "gpu"):
            return "fused"
        return "chunked" if is_long else "plain"
