"""Synthesizer (Tay et al., 2020, https://arxiv.org/abs/2005.00743): attention weights without comparing positions.

Is the dot product of queries and keys needed? Scores are instead a function of the query's position alone ("dense"), or
parameters that depend on no input at all ("random"); a mixture adds the dot product back. Honours mask and causality.
Work and memory are quadratic in length, by design.
"""

from typing import Any, ClassVar, Literal

from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float

from archs.layers.fields import Dtype, refuse
from archs.layers.mixers import dense


def zero_padding(x: Float[Array, "B T H _"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B T H _"]:
    """Whatever padding held, even if not finite, a weight of zero times it is zero."""
    return x if mask is None else jnp.where(mask[:, :, None, None], x, 0)


class Mixer(nn.Module):
    """softmax(S) v, with S [T, T] for each head by `kind`.

    "dense" is S_t = W₂ relu(W₁ x_t + b₁) + b₂, where W₁ x + b₁ is the query of the attention around it (as in the
    authors' code), so W₁ is its query kernel. "factorized_dense" makes A of length a and B of length b that way, and
    S_t = A ⊗ B of length a b. "random" is S = R, a parameter; "fixed_random" is an R that is not trained, in the
    collection `random`; "factorized_random" is S = R₁ R₂ᵀ.

    With `mixture`, S becomes α₁ S + α₂ q kᵀ / √K before the softmax over keys; α = softmax(`mixture_logits`) are two
    positive numbers with sum 1 for each layer, equal at the start. The dense kinds then read the same query as the dot
    product.

    Sows the weights [B, H, T, T] as `intermediates/weights` when that collection is mutable.

    Attributes:
        max_length: Longest sequence; shorter ones use the first rows and columns of S.
        kind: How scores are made.
        mixture: Whether dot products are added.
        factors: (a, b) with a b = `max_length`; of "factorized_dense" only, and required there.
        rank: Columns of R₁ and R₂; of "factorized_random" only. None is 8, as in the paper.
        dtype: Type of the products with kernels; the softmax is in at least float32.
        param_dtype: Type of the parameters.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"mask", "causal"})

    max_length: int
    kind: Literal["dense", "random", "fixed_random", "factorized_dense", "factorized_random"] = "dense"
    mixture: bool = False
    factors: tuple[int, int] | None = None
    rank: int | None = None
    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @property
    def reads(self) -> tuple[str, ...]:
        """What the scores are made of."""
        if self.mixture:
            return ("query", "key")
        return ("query",) if self.kind in ("dense", "factorized_dense") else ()

    @nn.compact
    def __call__(
        self,
        q: Float[Array, "B T H K"] | None,
        k: Float[Array, "B T H K"] | None,
        v: Float[Array, "B T H V"],
        *,
        mask: Bool[Array, "B T"] | None = None,
        causal: bool = False,
        train: bool = False,
    ) -> Float[Array, "B T H V"]:
        """Raises ValueError if the input is longer than `max_length`, or fields contradict each other."""
        batch, length, heads, _ = v.shape
        self.check(length)
        wide = jnp.promote_types(v.dtype, jnp.float32)
        scores = self.scores(q, heads)[:, :, :length, :length].astype(wide)
        if self.mixture:
            alpha = nn.softmax(self.param("mixture_logits", nn.initializers.zeros, (2,), self.param_dtype).astype(wide))
            assert q is not None and k is not None  # they are read
            scores = alpha[0] * scores + alpha[1] * self.products(q, zero_padding(k, mask))
        visible = dense.visible_keys(length, length, mask, causal)
        weights = nn.softmax(jnp.where(visible, scores, jnp.finfo(wide).min))
        weights = jnp.broadcast_to(weights, (batch, heads, length, length))
        self.sow("intermediates", "weights", weights)
        return jnp.einsum("bhts,bshv->bthv", weights.astype(v.dtype), zero_padding(v, mask))

    def check(self, length: int) -> None:
        """Raises ValueError if fields contradict each other, or one of them would do nothing."""
        a, b = self.factors or (0, 0)
        problems = {
            f"the input has {length} tokens, and max_length is {self.max_length}; shorten the input or raise "
            "max_length": length > self.max_length,
            f"kind={self.kind!r} has no factors; leave them out, or use kind='factorized_dense'": (
                self.factors is not None and self.kind != "factorized_dense"
            ),
            f"kind={self.kind!r} has no rank; leave it out, or use kind='factorized_random'": (
                self.rank is not None and self.kind != "factorized_random"
            ),
            f"factors is {self.factors}; kind='factorized_dense' needs two with product max_length={self.max_length}": (
                self.kind == "factorized_dense" and (min(a, b) < 1 or a * b != self.max_length)
            ),
            f"rank is {self.rank}; allowed: at least 1, or None for 8": self.rank is not None and self.rank < 1,
        }
        refuse("mixer synthesizer", problems)

    @staticmethod
    def products(q: Float[Array, "B T H K"], k: Float[Array, "B T H K"]) -> Float[Array, "B H T T"]:
        """q kᵀ / √K of each head."""
        wide = jnp.promote_types(q.dtype, jnp.float32)
        return jnp.einsum("bthk,bshk->bhts", q, k, preferred_element_type=wide) / q.shape[-1] ** 0.5

    def scores(self, q: Any, heads: int) -> Float[Array, "_ H rows N"]:
        """S of each head: of each example, or one for all; with all `max_length` columns, and rows at least T."""
        if self.kind in ("dense", "factorized_dense"):
            return self.dense_scores(nn.relu(q.astype(self.dtype)))
        normal = nn.initializers.normal  # of unit variance in S at the start, as dot products have
        square = (heads, self.max_length, self.max_length)
        if self.kind == "random":
            return self.param("kernel", normal(1.0), square, self.param_dtype)[None]
        if self.kind == "fixed_random":
            kernel = self.variable(
                "random", "scores", lambda: normal(1.0)(self.make_rng("random"), square, self.param_dtype)
            )
            return kernel.value[None]
        rank = self.rank or 8
        shape = (heads, self.max_length, rank)
        first, second = (
            self.param(f"{name}_kernel", normal(rank**-0.25), shape, self.param_dtype).astype(self.dtype)
            for name in ("first", "second")
        )
        return jnp.einsum("htr,hsr->hts", first, second)[None]

    def dense_scores(self, inner: Float[Array, "B T H K"]) -> Float[Array, "B H T N"]:
        """S from the first layer's units."""
        if self.factors is None:
            return self.outer(inner, "", self.max_length)
        first, second = (
            self.outer(inner, name, size) for name, size in zip(("first_", "second_"), self.factors, strict=True)
        )
        # Tiling A in runs and B in turns gives each place a pair of its own.
        return (first[..., :, None] * second[..., None, :]).reshape(*first.shape[:-1], self.max_length)

    def outer(self, inner: Float[Array, "B T H K"], name: str, size: int) -> Float[Array, "B H T _"]:
        """The second layer of each head."""
        _, _, heads, width = inner.shape
        init: Any = nn.initializers.xavier_uniform(in_axis=-2, out_axis=-1, batch_axis=0)
        kernel = self.param(f"{name}kernel", init, (heads, width, size), self.param_dtype)
        bias = self.param(f"{name}bias", nn.initializers.zeros, (heads, size), self.param_dtype)
        return jnp.einsum("bthk,hks->bhts", inner, kernel.astype(self.dtype)) + bias.astype(self.dtype)[None, :, None]
