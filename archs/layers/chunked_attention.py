"""Softmax attention in memory linear in length, forwards and backwards.

Queries are taken chunk by chunk, and for each chunk keys are, with the running maximum and sum of the softmax (Rabe and
Staats, 2021, https://arxiv.org/abs/2112.05682). The backward pass computes the weights between two chunks again, from
the maximum and sum of each query (FlashAttention: Dao et al., 2022, https://arxiv.org/abs/2205.14135).

`attend` is all of it, on one device; the mixer `ring` puts the same steps together over many. N counts chunks, of t
queries or s keys.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Bool, Float, Int

CHUNK = 256  # queries, and keys, of one step


class Queries(NamedTuple):
    """Queries by chunks, and their places in the sequence."""

    q: Float[Array, "N B t H K"]
    places: Int[Array, "N t"]


class Keys(NamedTuple):
    """Keys by chunks, their values, which of them are real, and their places in the sequence."""

    k: Float[Array, "N B s H K"]
    v: Float[Array, "N B s H V"]
    real: Bool[Array, "N B s"]
    places: Int[Array, "N s"]


class Softmax(NamedTuple):
    """The softmax of queries by chunks over the keys seen so far, in at least float32."""

    highest: Float[Array, "N B H t"]  # of the scores
    total: Float[Array, "N B H t"]  # Σ exp(score - highest)
    mixed: Float[Array, "N B H t V"]  # Σ exp(score - highest) v


class Backward(NamedTuple):
    """What the backward pass needs of queries by chunks."""

    queries: Queries
    highest: Float[Array, "N B H t"]
    total: Float[Array, "N B H t"]
    upstream: Float[Array, "N B t H V"]  # the gradient of the outputs
    product: Float[Array, "N B H t"]  # outputs · upstream


class Gradients(NamedTuple):
    """Gradients of queries, keys and values by chunks, in at least float32."""

    q: Float[Array, "N B t H K"]
    k: Float[Array, "N B s H K"]
    v: Float[Array, "N B s H V"]


def chunks(x: Array, chunk: int) -> Array:
    """[B, T, …] as [N, B, chunk, …]; zeros after the end, if need be."""
    chunk = min(chunk, x.shape[1])
    padded = jnp.pad(x, ((0, 0), (0, -x.shape[1] % chunk)) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(padded.reshape(x.shape[0], -1, chunk, *x.shape[2:]), 1, 0)


def whole(x: Array, length: int) -> Array:
    """The inverse of `chunks`."""
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


def cut(
    q: Float[Array, "B T H K"],
    places: Int[Array, " T"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H V"],
    real: Bool[Array, "B S"],
    key_places: Int[Array, " S"],
    chunk: int,
) -> tuple[Queries, Keys]:
    """All by chunks; what is filled in at the end is not real."""
    places, key_places = (chunks(x[None], chunk)[:, 0] for x in (places, key_places))
    return Queries(chunks(q, chunk), places), Keys(chunks(k, chunk), chunks(v, chunk), chunks(real, chunk), key_places)


def score(queries: Queries, keys: Keys, causal: bool) -> tuple[Float[Array, "B H t s"], Bool[Array, "B 1 _ s"]]:
    """q kᵀ / √K between one chunk of each, as low as can be where a key is not visible, and where it is."""
    wide = jnp.promote_types(queries.q.dtype, jnp.float32)
    visible = keys.real[:, None, None]
    if causal:
        visible = visible & (keys.places[None] <= queries.places[:, None])[None, None]
    scores = jnp.einsum("bthk,bshk->bhts", queries.q, keys.k, preferred_element_type=wide) / queries.q.shape[-1] ** 0.5
    return jnp.where(visible, scores, jnp.finfo(wide).min), visible


def nothing_seen(queries: Queries, value_size: int) -> Softmax:
    """The softmax over no keys."""
    wide = jnp.promote_types(queries.q.dtype, jnp.float32)
    total = jnp.zeros_like(jnp.moveaxis(queries.q[..., 0], 2, 3), wide)
    mixed = jnp.broadcast_to(total[..., None], (*total.shape, value_size))
    return Softmax(jnp.full_like(total, jnp.finfo(wide).min), total, mixed)


def take_in(queries: Queries, keys: Keys, softmax: Softmax, causal: bool) -> Softmax:
    """The softmax of all queries, with more keys."""

    def take_in_all(given: tuple[Queries, Softmax]) -> Softmax:
        queries, softmax = given

        def step(softmax: Softmax, keys: Keys) -> tuple[Softmax, None]:
            scores, _ = score(queries, keys, causal)
            highest = jnp.maximum(softmax.highest, scores.max(-1))
            rescale, weights = jnp.exp(softmax.highest - highest), jnp.exp(scores - highest[..., None])
            mixed = jnp.einsum(
                "bhts,bshv->bhtv", weights.astype(keys.v.dtype), keys.v, preferred_element_type=scores.dtype
            )
            total = rescale * softmax.total + weights.sum(-1)
            return Softmax(highest, total, rescale[..., None] * softmax.mixed + mixed), None

        return lax.scan(step, softmax, keys)[0]

    return lax.map(take_in_all, (queries, softmax))


def outputs_of(softmax: Softmax, length: int, dtype: jnp.dtype) -> Float[Array, "B T H V"]:
    """The weighted values."""
    return whole(jnp.moveaxis(softmax.mixed / softmax.total[..., None], 2, 3), length).astype(dtype)


def start_backward(
    queries: Queries,
    highest: Float[Array, "N B H t"],
    total: Float[Array, "N B H t"],
    outputs: Float[Array, "B T H V"],
    upstream: Float[Array, "B T H V"],
    chunk: int,
) -> Backward:
    """Gathers what the backward pass needs of queries."""
    product = jnp.einsum("bthv,bthv->bth", outputs, upstream, preferred_element_type=total.dtype)
    return Backward(queries, highest, total, chunks(upstream, chunk), jnp.moveaxis(chunks(product, chunk), 2, 3))


def no_gradients(queries: Queries, keys: Keys) -> Gradients:
    """Zeros, in at least float32."""
    wide = jnp.promote_types(queries.q.dtype, jnp.float32)
    return Gradients(*(jnp.zeros_like(x, wide) for x in (queries.q, keys.k, keys.v)))


def take_in_gradients(backward: Backward, keys: Keys, gradients: Gradients, causal: bool) -> Gradients:
    """Adds to the gradients of all queries, and of some keys and values, what is between them."""

    def keys_step(dq: Array, given: tuple[Keys, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        keys, dk, dv = given

        def queries_step(
            of_keys: tuple[Array, Array], given: tuple[Backward, Array]
        ) -> tuple[tuple[Array, Array], Array]:
            dk, dv = of_keys
            (queries, highest, total, upstream, product), dq = given
            scores, visible = score(queries, keys, causal)
            wide = scores.dtype
            weights = jnp.exp(scores - highest[..., None]) / total[..., None]
            of_weights = jnp.einsum("bthv,bshv->bhts", upstream, keys.v, preferred_element_type=wide)
            of_scores = jnp.where(visible, weights * (of_weights - product[..., None]), 0) / dq.shape[-1] ** 0.5
            dv = dv + jnp.einsum("bhts,bthv->bshv", weights, upstream, preferred_element_type=wide)
            dk = dk + jnp.einsum("bhts,bthk->bshk", of_scores, queries.q, preferred_element_type=wide)
            dq = dq + jnp.einsum("bhts,bshk->bthk", of_scores, keys.k, preferred_element_type=wide)
            return (dk, dv), dq

        of_keys, dq = lax.scan(queries_step, (dk, dv), (backward, dq))
        return dq, of_keys

    dq, (dk, dv) = lax.scan(keys_step, gradients.q, (keys, gradients.k, gradients.v))
    return Gradients(dq, dk, dv)


def gradients_of(gradients: Gradients, q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """Gradients of the lengths and types of what they are of."""
    dq, dk, dv = (whole(d, x.shape[1]).astype(x.dtype) for d, x in zip(gradients, (q, k, v), strict=True))
    return dq, dk, dv


def attend(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H V"],
    *,
    mask: Bool[Array, "B S"] | None,
    causal: bool,
    chunk: int = CHUNK,
) -> Float[Array, "B T H V"]:
    """softmax(q kᵀ / √K) v over the keys that are real and, if causal, no later than the query."""
    return attend_to_real(q, k, v, jnp.ones(k.shape[:2], bool) if mask is None else mask, causal, chunk)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def attend_to_real(q: Array, k: Array, v: Array, real: Array, causal: bool, chunk: int) -> Array:
    """The same, with a mask."""
    return attend_forward(q, k, v, real, causal, chunk)[0]


def attend_forward(
    q: Array, k: Array, v: Array, real: Array, causal: bool, chunk: int
) -> tuple[Array, tuple[Array, ...]]:
    """Also returns what the backward pass needs."""
    queries, keys = cut(q, jnp.arange(q.shape[1]), k, v, real, jnp.arange(k.shape[1]), chunk)
    softmax = take_in(queries, keys, nothing_seen(queries, v.shape[-1]), causal)
    outputs = outputs_of(softmax, q.shape[1], v.dtype)
    return outputs, (q, k, v, real, outputs, softmax.highest, softmax.total)


def attend_backward(causal: bool, chunk: int, kept: tuple[Array, ...], upstream: Array) -> tuple[Array | None, ...]:
    """Gradients of q, k and v."""
    q, k, v, real, outputs, highest, total = kept
    queries, keys = cut(q, jnp.arange(q.shape[1]), k, v, real, jnp.arange(k.shape[1]), chunk)
    backward = start_backward(queries, highest, total, outputs, upstream, chunk)
    gradients = take_in_gradients(backward, keys, no_gradients(queries, keys), causal)
    return *gradients_of(gradients, q, k, v), None


attend_to_real.defvjp(attend_forward, attend_backward)
