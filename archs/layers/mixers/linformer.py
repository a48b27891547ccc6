"""Linformer (Wang et al., 2020, https://arxiv.org/abs/2006.04768): attention to k mixtures of all positions.

Attention matrices are close to low rank, so the S keys and values of a head are first projected along the sequence to
k << S of each, by learned matrices E and F with one row for each position. Honours mask and cross-attention,
not causality: each projected key holds all positions. Work and memory are linear in length, for a fixed k.
"""

from typing import Any, ClassVar, Literal

from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float

from archs.layers.fields import Dtype
from archs.layers.mixers import dense


class Mixer(nn.Module):
    """softmax(q (Eᵀ k)ᵀ / √K) Fᵀ v.

    `mask` acts on the sum over positions: masked keys and values are zero before it, so padding adds nothing, whatever
    it holds. The softmax is over the k projected keys, which are no positions; none of them is masked.

    Attributes:
        max_length: Rows of E and F; shorter sequences use the first of them.
        projection_size: k.
        sharing: "none" gives each head its E and F, "headwise" one E and one F to all heads of a layer, "key_value"
            one E = F to all, "layerwise" one E = F to all layers of a stack.
        dtype: Type of the projected keys and values.
        param_dtype: Type of the parameters.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"mask", "cross"})
    reads: ClassVar[tuple[str, ...]] = ("query", "key")

    max_length: int
    projection_size: int = 256
    sharing: Literal["none", "headwise", "key_value", "layerwise"] = "headwise"
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @property
    def shares(self) -> bool:
        """Whether all layers of a stack read one parameter, which `share` makes."""
        return self.sharing == "layerwise"

    @nn.compact
    def share(self) -> Float[Array, "1 N k"]:
        """What a stack makes once and gives to the mixers of its layers."""
        return self.projection("kernel", 1)

    @nn.compact
    def __call__(
        self,
        q: Float[Array, "B T H K"],
        k: Float[Array, "B S H K"],
        v: Float[Array, "B S H V"],
        *,
        mask: Bool[Array, "B S"] | None = None,
        causal: bool = False,
        shared: Float[Array, "1 N k"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B T H V"]:
        """Raises ValueError if there are more keys than `max_length`."""
        memory_length = k.shape[1]
        if memory_length > self.max_length:
            raise ValueError(
                f"mixer linformer: the input has {memory_length} tokens, and max_length is {self.max_length}; "
                "shorten the input or raise max_length"
            )
        if mask is not None:
            k, v = (jnp.where(mask[:, :, None, None], x, 0) for x in (k, v))
        names = ("kernel", "kernel") if self.sharing in ("key_value", "layerwise") else ("key_kernel", "value_kernel")
        heads = k.shape[2]
        kernels = {n: self.projection(n, heads) if shared is None else shared for n in dict.fromkeys(names)}
        k, v = (self.project(x, kernels[name]) for x, name in zip((k, v), names, strict=True))
        return dense.plain(q, k, v, dense.visible_keys(q.shape[1], self.projection_size, None, causal=False))

    def projection(self, name: str, heads: int) -> Float[Array, "_ N k"]:
        """E or F of each head, or one for all; at the start of variance 1 / (N + k)."""
        shape = (heads if self.sharing == "none" else 1, self.max_length, self.projection_size)
        init: Any = nn.initializers.variance_scaling(0.5, "fan_avg", "uniform", batch_axis=0)
        return self.param(name, init, shape, self.param_dtype)

    def project(self, x: Float[Array, "B S H _"], kernel: Float[Array, "_ N k"]) -> Float[Array, "B k H _"]:
        """Sums positions into k mixtures of them."""
        kernel = jnp.broadcast_to(kernel[:, : x.shape[1]], (x.shape[2], x.shape[1], self.projection_size))
        return jnp.einsum("bshd,hsk->bkhd", x.astype(self.dtype), kernel.astype(self.dtype))
