"""Performer (Choromanski et al., 2020, https://arxiv.org/abs/2009.14794): attention by random features, FAVOR+.

A kernel that is an inner product of features, K(q, k) = φ(q)·φ(k), lets sums over keys be taken before the queries are
known: Σ φ(k) vᵀ and Σ φ(k) are all that attention needs. Positive random features estimate the softmax kernel
exp(q·k / √K) without bias. Honours mask, causality and cross-attention. Work and memory are linear in length.
"""

from typing import ClassVar, Literal, NamedTuple

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from archs.layers.fields import Dtype
from archs.layers.orthogonal import orthogonal_matrices

Kernel = Literal["softmax", "relu"]
CHUNK = 128  # positions of one step of causal attention
# Added to features, as in the authors' code, so that no query is orthogonal to all keys: for "softmax" a tiny bias.
FLOORS = {"softmax": 1e-6, "relu": 1e-3}


def draw_projection(
    key: PRNGKeyArray, num_features: int, width: int, orthogonal: bool, dtype: jnp.dtype
) -> Float[Array, "M K"]:
    """Rows ω of a standard normal distribution, independent or orthogonal within each block of K.

    Orthogonal rows get lengths of independent ones, so each row by itself is standard normal in both cases.
    """
    directions_key, lengths_key = jax.random.split(key)
    rows = jax.random.normal(lengths_key, (num_features, width), dtype)
    if not orthogonal:
        return rows
    blocks = orthogonal_matrices(directions_key, -(-num_features // width), width, dtype)
    return blocks.reshape(-1, width)[:num_features] * jnp.linalg.norm(rows, axis=-1, keepdims=True)


def features(
    x: Float[Array, "B T H K"], projection: Float[Array, "M K"], kernel: Kernel
) -> tuple[Float[Array, "B T H M"], Float[Array, "B T H"]]:
    """φ(x) as its values after division by exp(s), and s: with s the largest exponent of x, nothing overflows.

    "softmax" is exp(ω·x - |x|²/2) / √M, "relu" is max(0, ω·x) / √M, of x / K^¼ both.
    """
    num_features, width = projection.shape
    x = x / width**0.25
    projected = jnp.einsum("bthk,mk->bthm", x, projection)
    if kernel == "relu":
        values, scale = nn.relu(projected), jnp.zeros(x.shape[:-1], x.dtype)
    else:
        exponents = projected - jnp.square(x).sum(-1, keepdims=True) / 2
        scale = exponents.max(-1)
        values = jnp.exp(exponents - scale[..., None])
    return (values + FLOORS[kernel]) / num_features**0.5, scale


class Sums(NamedTuple):
    """What attention needs of the keys and values read so far, all divided by exp(`highest`)."""

    mixed: Float[Array, "B H M V"]  # Σ φ(k) vᵀ
    total: Float[Array, "B H M"]  # Σ φ(k)
    highest: Float[Array, "B H"]  # the largest scale of a key

    @classmethod
    def empty(cls, batch: int, heads: int, num_features: int, width: int, dtype: jnp.dtype) -> "Sums":
        """Sums over no keys."""
        total = jnp.zeros((batch, heads, num_features), dtype)
        lowest = jnp.full((batch, heads), jnp.finfo(dtype).min, dtype)
        return cls(jnp.zeros((*total.shape, width), dtype), total, lowest)

    def add(
        self,
        keys: Float[Array, "B S H M"],
        scale: Float[Array, "B S H"],
        v: Float[Array, "B S H V"],
        mask: Bool[Array, "B S"],
    ) -> "Sums":
        """Sums over more keys, given as what `features` returns."""
        # Gradients through `highest` cancel between the two sums of the ratio.
        highest = lax.stop_gradient(jnp.maximum(self.highest, scale.max(1)))
        rescale = jnp.exp(self.highest - highest)[..., None]
        keys = keys * jnp.where(mask[..., None], jnp.exp(scale - highest[:, None]), 0)[..., None]
        mixed = rescale[..., None] * self.mixed + jnp.einsum("bshm,bshv->bhmv", keys, v)
        return Sums(mixed, rescale * self.total + keys.sum(1).reshape(self.total.shape), highest)


def ratio(mixed: Float[Array, "B T H V"], total: Float[Array, "B T H"]) -> Float[Array, "B T H V"]:
    """The mean of the values; zero where there was nothing to see."""
    return mixed / jnp.where(total > 0, total, 1)[..., None]


def attend(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H V"],
    mask: Bool[Array, "B S"],
    projection: Float[Array, "M K"],
    kernel: Kernel,
) -> Float[Array, "B T H V"]:
    """Every query reads every real key."""
    batch, _, heads, width = v.shape
    keys, scale = features(k, projection, kernel)
    scale = jnp.where(mask[..., None], scale, jnp.finfo(scale.dtype).min)
    sums = Sums.empty(batch, heads, projection.shape[0], width, v.dtype).add(keys, scale, v, mask)
    queries, _ = features(q, projection, kernel)  # the scale of a query is on both sides of the ratio
    return ratio(jnp.einsum("bthm,bhmv->bthv", queries, sums.mixed), jnp.einsum("bthm,bhm->bth", queries, sums.total))


def attend_causally(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H V"],
    mask: Bool[Array, "B S"],
    projection: Float[Array, "M K"],
    kernel: Kernel,
    chunk: int = CHUNK,
) -> Float[Array, "B T H V"]:
    """Queries read keys no later than themselves: a scan over chunks, with the sums over all earlier ones.

    Within a chunk the weights are taken as they are, chunk × chunk. The backward pass keeps the sums at each chunk and
    computes all else again. Each row is divided by exp of the largest scale of the keys up to it (the authors' code
    takes that of all keys): neither its value nor its gradient depends on the future, be it by rounding.
    """
    batch, length, heads, width = v.shape[0], q.shape[1], *v.shape[2:]
    chunk = min(chunk, length)

    def chunks(x: Array) -> Array:
        x = x[:, :length]  # no query sees keys after the last one
        to_pad = [(0, 0), (0, length + -length % chunk - x.shape[1])] + [(0, 0)] * (x.ndim - 2)
        return jnp.moveaxis(jnp.pad(x, to_pad).reshape(batch, -1, chunk, *x.shape[2:]), 1, 0)

    earlier = jnp.tril(jnp.ones((chunk, chunk), bool))

    def step(sums: Sums, part: tuple[Array, Array, Array, Array]) -> tuple[Sums, Array]:
        q, k, v, mask = part
        queries, _ = features(q, projection, kernel)
        keys, scale = features(k, projection, kernel)
        scale = jnp.where(mask[..., None], scale, jnp.finfo(scale.dtype).min)
        highest = lax.stop_gradient(jnp.maximum(sums.highest[:, None], lax.cummax(scale, axis=1)))
        exponents = scale.swapaxes(1, 2)[:, :, None, :] - highest.swapaxes(1, 2)[:, :, :, None]
        visible = earlier[None, None] & mask[:, None, None, :]
        weights = jnp.einsum("bthm,bshm->bhts", queries, keys) * jnp.exp(jnp.where(visible, exponents, -jnp.inf))
        rescale = jnp.exp(sums.highest[:, None] - highest)
        mixed = rescale[..., None] * jnp.einsum("bthm,bhmv->bthv", queries, sums.mixed)
        total = rescale * jnp.einsum("bthm,bhm->bth", queries, sums.total)
        mixed = mixed + jnp.einsum("bhts,bshv->bthv", weights, v)
        outputs = ratio(mixed, total + weights.sum(-1).swapaxes(1, 2))
        return sums.add(keys, scale, v, mask), outputs

    start = Sums.empty(batch, heads, projection.shape[0], width, v.dtype)
    parts = (chunks(q), chunks(k), chunks(v), chunks(mask))
    _, outputs = lax.scan(jax.checkpoint(step, prevent_cse=False), start, parts)
    return jnp.moveaxis(outputs, 0, 1).reshape(batch, -1, heads, width)[:, :length]


class Mixer(nn.Module):
    """Attention whose weights are φ(q)·φ(k), normalised.

    The rows ω of φ are the same for all heads of a layer. They are no parameters: they live in the collection `random`,
    are drawn at initialisation, and again in training if `redraw_every` says so, from the stream `random`; that
    collection must be mutable then.

    Attributes:
        kernel: "softmax" estimates softmax attention; "relu" is generalised attention, another kernel in its own right.
        num_features: M.
        orthogonal: Whether rows ω are orthogonal, in blocks of K, which lowers the variance, or independent.
        redraw_every: Training steps between draws; None never draws again.
        dtype: Not used: the values decide. Features and sums are at least float32.
        param_dtype: Type of the rows ω, which are at least float32.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"mask", "causal", "cross"})
    reads: ClassVar[tuple[str, ...]] = ("query", "key")

    kernel: Kernel = "softmax"
    num_features: int = 256
    orthogonal: bool = True
    redraw_every: int | None = None
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
        train: bool = False,
    ) -> Float[Array, "B T H V"]:
        """Raises ValueError if `redraw_every` is below 1."""
        mask = jnp.ones(k.shape[:2], bool) if mask is None else mask
        wide = jnp.promote_types(v.dtype, jnp.float32)
        projection = self.projection(k.shape[-1], train).astype(wide)
        clean_k, clean_v = (jnp.where(mask[..., None, None], x, 0).astype(wide) for x in (k, v))
        mix = attend_causally if causal else attend
        return mix(q.astype(wide), clean_k, clean_v, mask, projection, self.kernel).astype(v.dtype)

    def projection(self, width: int, train: bool) -> Float[Array, "M K"]:
        """The rows ω of this step."""
        if self.redraw_every is not None and self.redraw_every < 1:
            raise ValueError(
                f"mixer performer: redraw_every is {self.redraw_every}; allowed: at least 1, or None for never"
            )
        dtype = jnp.promote_types(self.param_dtype, jnp.float32)

        def draw(key: PRNGKeyArray) -> Float[Array, "M K"]:
            return draw_projection(key, self.num_features, width, self.orthogonal, dtype)

        projection = self.variable("random", "projection", lambda: draw(self.make_rng("random")))
        if self.redraw_every is None:
            return projection.value
        step = self.variable("random", "step", jnp.zeros, (), jnp.int32)
        if train and not self.is_initializing():
            step.value += 1
            old, key = projection.value, self.make_rng("random")
            projection.value = lax.cond(step.value % self.redraw_every == 0, lambda: draw(key), lambda: old)
        return projection.value
