"""Attention by the device's own kernel, in memory linear in length.

- NVIDIA GPUs, float16 and bfloat16: cuDNN's flash attention, through `jax.nn.dot_product_attention`. For float32 there
  is none to rely on: those of JAX and tokamax go through Pallas's Triton backend, which JAX 0.11 deprecates.
- TPUs, bfloat16 and float32: splash attention, the Pallas kernel that JAX ships. Tokamax's takes no mask that differs
  between examples.

On a GPU, tests/hardware compares cuDNN's with the formula. The TPU's has not run on hardware yet: it was run in
Pallas's interpreter, and compiled ahead of time for TPU v4, v5e and v6e, also over four devices.
"""

import functools
import math
from typing import Any

import jax
from jax import numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

BLOCKS = (512, 256, 128)  # positions of one step on a TPU: the largest that divides the padded length
# Of products in a TPU kernel, whatever that of others: "highest" does not compile for bfloat16, and "default" would
# round float32 to it.
PRECISIONS = {"bfloat16": "default", "float32": "highest"}
# The mesh axes that cut the batch and the heads, where they divide them.
BATCH_AXES, HEAD_AXES = ("data", "fsdp"), ("model",)
MASKED = 1024  # positions up to which cuDNN gets a mask, which it wants as a matrix of queries and keys


def refusal(
    q: Float[Array, "B T H K"], k: Float[Array, "B S H K"], v: Float[Array, "B S H V"], mask: Bool[Array, "B S"] | None
) -> str | None:
    """Why the device at hand cannot take these inputs; None if it can."""
    device = jax.default_backend()
    if device not in ("gpu", "tpu"):
        return f"needs an NVIDIA GPU or a TPU, and this device is {device}"
    return (refusal_of_cudnn if device == "gpu" else refusal_of_splash)(q, k, v, mask)


def refusal_of_cudnn(q: Array, k: Array, v: Array, mask: Array | None) -> str | None:
    """Why cuDNN cannot take these inputs."""
    lengths, widths = (q.shape[1], k.shape[1]), (k.shape[-1], v.shape[-1])
    if q.dtype not in (jnp.float16, jnp.bfloat16):
        return f"takes float16 and bfloat16 on a GPU, not {q.dtype}"
    if len(set(widths)) > 1 or widths[0] > 128 or widths[0] % 8:
        return f"takes keys and values of one width, a multiple of 8 up to 128, on a GPU, not of {widths}"
    if any(length % 2 for length in lengths):
        return f"takes even numbers of queries and keys on a GPU, not {lengths}"
    if mask is not None and max(lengths) > MASKED:
        return f"takes a mask up to {MASKED} positions on a GPU, not {max(lengths)}"
    return None


def refusal_of_splash(q: Array, k: Array, v: Array, mask: Array | None) -> str | None:
    """Why splash attention cannot take these inputs."""
    kind = jax.devices()[0].device_kind
    allowed = ("float32",) if kind in ("TPU v2", "TPU v3") else tuple(PRECISIONS)
    return None if str(q.dtype) in allowed else f"takes {' and '.join(allowed)} on a {kind}, not {q.dtype}"


def attend(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H V"],
    *,
    mask: Bool[Array, "B S"] | None,
    causal: bool,
) -> Float[Array, "B T H V"]:
    """softmax(q kᵀ / √K) v over the keys that are real and, if causal, no later than the query."""
    if jax.default_backend() == "tpu":
        return splash(q, k, v, jnp.ones(k.shape[:2], bool) if mask is None else mask, causal)
    return cudnn(q, k, v, mask, causal)


def cudnn(q: Array, k: Array, v: Array, mask: Array | None, causal: bool) -> Array:
    """cuDNN's flash attention."""
    batch, length = q.shape[:2]
    visible = None if mask is None else jnp.broadcast_to(mask[:, None, None], (batch, 1, length, k.shape[1]))
    return jax.nn.dot_product_attention(q, k, v, mask=visible, is_causal=causal, implementation="cudnn")


def splash(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H V"],
    mask: Bool[Array, "B S"],
    causal: bool,
) -> Float[Array, "B T H V"]:
    """Splash attention; over several devices, each takes its examples and heads, and all of the sequence."""
    run = functools.partial(splash_on_one_device, causal=causal)
    mesh = dict(jax.sharding.get_abstract_mesh().shape)
    if all(size == 1 for size in mesh.values()):
        return run(q, k, v, mask)
    # The compiler does not cut a Pallas kernel by itself.
    batch, heads = axes_that_divide(mesh, BATCH_AXES, q.shape[0]), axes_that_divide(mesh, HEAD_AXES, q.shape[2])
    part = PartitionSpec(batch, None, heads)
    specs = (part, part, part, PartitionSpec(batch))
    # The kernel's outputs do not say over which axes they vary, so that is not checked.
    return jax.shard_map(run, in_specs=specs, out_specs=part, check_vma=False)(q, k, v, mask)


def axes_that_divide(mesh: dict[str, int], axes: tuple[str, ...], size: int) -> tuple[str, ...] | None:
    """Those of these axes that the mesh has; None if they do not divide the size."""
    present = tuple(axis for axis in axes if axis in mesh)
    return present if size % math.prod(mesh[axis] for axis in present) == 0 else None


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def splash_on_one_device(q: Array, k: Array, v: Array, mask: Array, causal: bool) -> Array:
    """The kernel, forwards and backwards in the precision that it has, whatever that of other products is."""
    with jax.default_matmul_precision(PRECISIONS[str(q.dtype)]):
        return splash_kernel(q, k, v, mask, causal)


def splash_forward(q: Array, k: Array, v: Array, mask: Array, causal: bool) -> tuple[Array, Any]:
    with jax.default_matmul_precision(PRECISIONS[str(q.dtype)]):
        return jax.vjp(lambda q, k, v: splash_kernel(q, k, v, mask, causal), q, k, v)


def splash_backward(causal: bool, pullback: Any, upstream: Array) -> tuple[Array | None, ...]:
    with jax.default_matmul_precision(PRECISIONS[str(upstream.dtype)]):
        return *pullback(upstream), None


splash_on_one_device.defvjp(splash_forward, splash_backward)


def splash_kernel(q: Array, k: Array, v: Array, mask: Array, causal: bool) -> Array:
    """Splash attention, with lengths padded to multiples of 128."""
    from jax.experimental.pallas.ops.tpu import splash_attention  # here, because it is slow to import

    batch, length, heads, width = q.shape

    def pad(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (0, -x.shape[1] % 128)) + ((0, 0),) * (x.ndim - 2))

    q, k, v, mask = (pad(x) for x in (q / width**0.5, k, v, mask))
    shape = (q.shape[1], k.shape[1])
    block_q, block_kv = (next(block for block in BLOCKS if size % block == 0) for size in shape)
    sizes = splash_attention.BlockSizes(
        block_q, block_kv, block_q_dkv=block_q, block_kv_dkv=block_kv, block_q_dq=block_q, block_kv_dq=block_kv
    )
    pattern = (splash_attention.CausalMask if causal else splash_attention.FullMask)(shape)
    kernel = splash_attention.make_splash_mha_single_device(
        splash_attention.MultiHeadMask([pattern] * heads), block_sizes=sizes
    )
    # Queries see the keys of their own segment: the real ones are segment 1.
    segments = splash_attention.SegmentIds(jnp.ones((batch, shape[0]), jnp.int32), mask.astype(jnp.int32))
    mixed = jax.vmap(kernel)(*(x.swapaxes(1, 2) for x in (q, k, v)), segments)
    return mixed.swapaxes(1, 2)[:, :length]
