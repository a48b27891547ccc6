"""Exact attention over a sequence that is cut over devices (Ring Attention: Liu, Zaharia and Abbeel, 2023,
https://arxiv.org/abs/2310.01889).

Along the axis `seq` of the mesh that is entered (`jax.set_mesh`), every device keeps its queries, while keys and values
go round from device to device, and are taken in chunk by chunk with the running maximum and sum of the softmax. The
backward pass sends them round once more, and their gradients with them. So a device needs memory for its part of the
sequence only; work stays quadratic. Honours mask and causality. Other axes of the mesh cut what they cut.

Without a mesh, or where `seq` is 1, this is chunked attention on one device.
"""

import functools
from typing import Any, ClassVar

import jax
from flax import linen as nn
from jax import lax
from jax import numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from archs.layers import chunked_attention
from archs.layers.chunked_attention import Gradients, Keys, Softmax
from archs.layers.fields import Dtype

AXIS = "seq"


def pass_on(tree: Any) -> Any:
    """Sends arrays to the next device, and receives those of the one before."""
    size = lax.axis_size(AXIS)
    return jax.tree.map(lambda x: lax.ppermute(x, AXIS, [(i, (i + 1) % size) for i in range(size)]), tree)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def attend(q: Array, k: Array, v: Array, real: Array, places: Array, causal: bool, chunk: int) -> Array:
    """Attention from the queries of one device to the keys of all."""
    return attend_forward(q, k, v, real, places, causal, chunk)[0]


def attend_forward(
    q: Array, k: Array, v: Array, real: Array, places: Array, causal: bool, chunk: int
) -> tuple[Array, tuple[Array, ...]]:
    """Also returns what the backward pass needs."""
    queries, keys = chunked_attention.cut(q, places, k, v, real, places, chunk)

    def step(carry: tuple[Keys, Softmax], _: None) -> tuple[tuple[Keys, Softmax], None]:
        keys, softmax = carry
        return (pass_on(keys), chunked_attention.take_in(queries, keys, softmax, causal)), None

    start = (keys, chunked_attention.nothing_seen(queries, v.shape[-1]))
    (keys, softmax), _ = lax.scan(step, start, length=lax.axis_size(AXIS) - 1)
    softmax = chunked_attention.take_in(queries, keys, softmax, causal)
    outputs = chunked_attention.outputs_of(softmax, q.shape[1], v.dtype)
    return outputs, (q, k, v, real, places, outputs, softmax.highest, softmax.total)


def attend_backward(causal: bool, chunk: int, kept: tuple[Array, ...], upstream: Array) -> tuple[Array | None, ...]:
    """Gradients of q, k and v; those of keys and values go round with them."""
    q, k, v, real, places, outputs, highest, total = kept
    queries, keys = chunked_attention.cut(q, places, k, v, real, places, chunk)
    backward = chunked_attention.start_backward(queries, highest, total, outputs, upstream, chunk)

    def step(carry: tuple[Keys, Gradients], _: None) -> tuple[tuple[Keys, Gradients], None]:
        keys, gradients = carry
        dq, dk, dv = chunked_attention.take_in_gradients(backward, keys, gradients, causal)
        return (pass_on(keys), Gradients(dq, *pass_on((dk, dv)))), None

    start = (keys, chunked_attention.no_gradients(queries, keys))
    (_, gradients), _ = lax.scan(step, start, length=lax.axis_size(AXIS))
    return *chunked_attention.gradients_of(gradients, q, k, v), None, None


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
            return chunked_attention.attend(q, k, v, mask=mask, causal=causal)
        if length % devices:
            raise ValueError(
                f"mixer ring: a sequence of {length} positions cannot be cut over the {devices} devices of the mesh "
                f"axis {AXIS!r}; allowed: multiples of {devices}; pad it, or choose another mesh"
            )
        cut = PartitionSpec(None, AXIS)
        run = functools.partial(attend, causal=causal, chunk=chunked_attention.CHUNK)
        # Other axes of the mesh stay with the compiler: batch and heads remain where they are.
        mapped = jax.shard_map(run, in_specs=(cut,) * 4 + (PartitionSpec(AXIS),), out_specs=cut, axis_names={AXIS})
        return mapped(q, k, v, mask, jnp.arange(length))
