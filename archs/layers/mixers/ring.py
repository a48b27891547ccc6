"""Exact attention over a sequence that is cut over devices (Ring Attention: Liu, Zaharia and Abbeel, 2023,
https://arxiv.org/abs/2310.01889).

Along the axis `seq` of the mesh that is entered (`jax.set_mesh`), every device keeps its queries, while keys and values
go round from device to device, and are taken in chunk by chunk with the running maximum and sum of the softmax. The
backward pass sends them round once more, and their gradients with them. So a device needs memory for its part of the
sequence only; work stays quadratic. Honours mask and causality. Other axes of the mesh cut what they cut.

Without a mesh, or where `seq` is 1, this is the chunked kernel of `dense`.
"""

import functools
from typing import Any, ClassVar

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from archs.layers.fields import Dtype
from archs.layers.mixers import dense

AXIS = "seq"
Part = tuple[Array, ...]  # chunks of keys, of values, of the mask, and of positions


def chunks(x: Array, chunk: int) -> Array:
    """[B, T, …] as [T / chunk, B, chunk, …]; zeros after the end, if need be."""
    padded = jnp.pad(x, ((0, 0), (0, -x.shape[1] % chunk)) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(padded.reshape(x.shape[0], -1, chunk, *x.shape[2:]), 1, 0)


def whole(x: Array, length: int) -> Array:
    """The inverse of `chunks`."""
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


def pass_on(tree: Any) -> Any:
    """Sends arrays to the next device, and receives those of the one before."""
    size = lax.axis_size(AXIS)
    return jax.tree.map(lambda x: lax.ppermute(x, AXIS, [(i, (i + 1) % size) for i in range(size)]), tree)


def score(
    q: Float[Array, "B t H K"],
    places: Int[Array, "B t"],
    k: Float[Array, "B s H K"],
    real: Bool[Array, "B s"],
    key_places: Int[Array, "B s"],
    causal: bool,
) -> tuple[Float[Array, "B H t s"], Bool[Array, "B 1 _ s"]]:
    """q kᵀ / √K, as low as can be where a key is not visible, and where it is."""
    wide = jnp.promote_types(q.dtype, jnp.float32)
    visible = real[:, None, None]
    if causal:
        visible = visible & (key_places[:, None] <= places[..., None])[:, None]
    scores = jnp.einsum("bthk,bshk->bhts", q, k, preferred_element_type=wide) / q.shape[-1] ** 0.5
    return jnp.where(visible, scores, jnp.finfo(wide).min), visible


def take_in(q: Array, places: Array, part: Part, softmax: Part, causal: bool) -> Part:
    """The running (maximum, sum, weighted values) of the softmax of all queries, with one more part of the keys."""

    def queries(given: tuple[Array, Array, Part]) -> Part:
        q, places, softmax = given

        def step(softmax: Part, keys: Part) -> tuple[Part, None]:
            highest, total, mixed = softmax
            k, v, real, key_places = keys
            scores, _ = score(q, places, k, real, key_places, causal)
            higher = jnp.maximum(highest, scores.max(-1))
            rescale, weights = jnp.exp(highest - higher), jnp.exp(scores - higher[..., None])
            new = jnp.einsum("bhts,bshv->bhtv", weights.astype(v.dtype), v, preferred_element_type=mixed.dtype)
            return (higher, rescale * total + weights.sum(-1), rescale[..., None] * mixed + new), None

        return lax.scan(step, softmax, part)[0]

    return lax.map(queries, (q, places, softmax))


def take_in_gradients(queries: Part, dq: Array, part: Part, gradients: Part, causal: bool) -> tuple[Array, Part]:
    """Adds to the gradients of all queries and of one part of the keys and values what is between them.

    `queries` are, by chunks, the queries, their positions, the maximum and sum of their softmax, the gradient of their
    outputs, and its product with the outputs.
    """

    def keys_step(dq: Array, given: Part) -> tuple[Array, Part]:
        k, v, real, key_places, dk, dv = given

        def queries_step(gradients: Part, given: Part) -> tuple[Part, Array]:
            dk, dv = gradients
            q, places, highest, total, upstream, product, dq = given
            scores, visible = score(q, places, k, real, key_places, causal)
            weights = jnp.exp(scores - highest[..., None]) / total[..., None]
            of_weights = jnp.einsum("bthv,bshv->bhts", upstream, v, preferred_element_type=scores.dtype)
            of_scores = jnp.where(visible, weights * (of_weights - product[..., None]), 0) / q.shape[-1] ** 0.5
            dv = dv + jnp.einsum("bhts,bthv->bshv", weights, upstream, preferred_element_type=dv.dtype)
            dk = dk + jnp.einsum("bhts,bthk->bshk", of_scores, q, preferred_element_type=dk.dtype)
            dq = dq + jnp.einsum("bhts,bshk->bthk", of_scores, k, preferred_element_type=dq.dtype)
            return (dk, dv), dq

        start: Part = (dk, dv)
        gradients, dq = lax.scan(queries_step, start, (*queries, dq))
        return dq, gradients

    return lax.scan(keys_step, dq, (*part, *gradients))


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def attend(q: Array, k: Array, v: Array, real: Array, places: Array, causal: bool, chunk: int) -> Array:
    """Attention from the queries of one device to the keys of all."""
    return attend_forward(q, k, v, real, places, causal, chunk)[0]


def attend_forward(
    q: Array, k: Array, v: Array, real: Array, places: Array, causal: bool, chunk: int
) -> tuple[Array, tuple[Array, ...]]:
    """Also returns what the backward pass needs."""
    queries, at = chunks(q, chunk), chunks(places, chunk)
    part: Part = (chunks(k, chunk), chunks(v, chunk), chunks(real, chunk), at)
    wide = jnp.promote_types(q.dtype, jnp.float32)
    mixed = jnp.zeros_like(jnp.moveaxis(part[1], 2, 3), wide)
    softmax: Part = (jnp.full_like(mixed[..., 0], jnp.finfo(wide).min), jnp.zeros_like(mixed[..., 0]), mixed)

    def step(carry: tuple[Part, Part], _: None) -> tuple[tuple[Part, Part], None]:
        part, softmax = carry
        return (pass_on(part), take_in(queries, at, part, softmax, causal)), None

    (part, softmax), _ = lax.scan(step, (part, softmax), length=lax.axis_size(AXIS) - 1)
    highest, total, mixed = take_in(queries, at, part, softmax, causal)
    outputs = whole(jnp.moveaxis(mixed / total[..., None], 2, 3), q.shape[1]).astype(v.dtype)
    return outputs, (q, k, v, real, places, outputs, highest, total)


def attend_backward(causal: bool, chunk: int, kept: tuple[Array, ...], upstream: Array) -> tuple[Array | None, ...]:
    q, k, v, real, places, outputs, highest, total = kept
    wide = highest.dtype
    product = jnp.einsum("bthv,bthv->bth", outputs, upstream, preferred_element_type=wide)
    at = chunks(places, chunk)
    product = jnp.moveaxis(chunks(product, chunk), 2, 3)
    queries = (chunks(q, chunk), at, highest, total, chunks(upstream, chunk), product)
    part: Part = (chunks(k, chunk), chunks(v, chunk), chunks(real, chunk), at)
    dq, *zeros = (jnp.zeros_like(x, wide) for x in (queries[0], *part[:2]))

    def step(carry: tuple[Array, Part, Part], _: None) -> tuple[tuple[Array, Part, Part], None]:
        dq, part, gradients = carry
        dq, gradients = take_in_gradients(queries, dq, part, gradients, causal)
        return (dq, pass_on(part), pass_on(gradients)), None

    (dq, _, gradients), _ = lax.scan(step, (dq, part, tuple(zeros)), length=lax.axis_size(AXIS))
    dq, dk, dv = (whole(d, x.shape[1]).astype(x.dtype) for d, x in zip((dq, *gradients), (q, k, v), strict=True))
    return dq, dk, dv, None, None


attend.defvjp(attend_forward, attend_backward)


class Mixer(nn.Module):
    """Attention proper, the sequence cut over the devices of an axis of the mesh.

    What is computed at padding means nothing, and whatever stands there, NaN included, reaches nothing else.

    Attributes:
        dtype, param_dtype: Not used: the values decide, and there are no parameters.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"mask", "causal"})
    reads: ClassVar[tuple[str, ...]] = ("query", "key")

    dtype: Dtype = "float32"
    param_dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        q: Float[Array, "B T H K"],
        k: Float[Array, "B T H K"],
        v: Float[Array, "B T H V"],
        *,
        mask: Bool[Array, "B T"] | None = None,
        causal: bool = False,
        train: bool = False,
    ) -> Float[Array, "B T H V"]:
        """Raises ValueError if the devices do not divide the sequence."""
        batch, length = v.shape[:2]
        mask = jnp.ones((batch, length), bool) if mask is None else mask
        q, k, v = (jnp.where(mask[..., None, None], x, 0) for x in (q, k, v))
        devices = dict(jax.sharding.get_abstract_mesh().shape).get(AXIS, 1)
        if devices == 1:
            return dense.chunked(q, k, v, mask=mask, causal=causal)
        if length % devices:
            raise ValueError(
                f"mixer ring: a sequence of {length} positions cannot be cut over the {devices} devices of the mesh "
                f"axis {AXIS!r}; allowed: multiples of {devices}; pad it, or choose another mesh"
            )
        cut = PartitionSpec(None, AXIS)
        places = jnp.broadcast_to(jnp.arange(length), (batch, length))
        run = functools.partial(attend, causal=causal, chunk=min(dense.CHUNK, length // devices))
        # Other axes of the mesh stay with the compiler: batch and heads remain where they are.
        mapped = jax.shard_map(run, in_specs=(cut,) * 5, out_specs=cut, axis_names={AXIS})
        return mapped(q, k, v, mask, places)
