"""Attention over a sequence that is cut over devices.

Tests that need four devices run in a process that simulates them, which `test_on_four_devices` starts.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.core import FrozenDict
from jax import numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from archs.layers import chunked_attention, mixers
from archs.layers.stack import Stack
from train.flops import forward_flops
from train.mesh import AXES

ROOT = Path(__file__).resolve().parents[3]
on_four_devices = pytest.mark.skipif(
    jax.device_count() < 4, reason="test_on_four_devices runs it in a process of its own"
)

RNG = np.random.default_rng(0)
BATCH, LENGTH = 2, 24
Q, K, V, WEIGHTS = (jnp.asarray(RNG.normal(size=(BATCH, LENGTH, 2, 4)), jnp.float32) for _ in range(4))
MASK = jnp.asarray(np.arange(LENGTH)[None] < np.array([[24], [10]]))
RING, DENSE = mixers.build("ring", {}), mixers.build("dense", {})


def enter(data=1, fsdp=1, model=1, seq=1):
    sizes = (data, fsdp, model, seq)
    devices = np.asarray(jax.devices()[: int(np.prod(sizes))]).reshape(sizes)
    return jax.set_mesh(Mesh(devices, AXES, axis_types=(AxisType.Auto,) * 4))


def value_and_gradients(mix, mask, causal):
    """The outputs at real positions, and gradients of a weighting of them."""

    def loss(*qkv):
        outputs = mix.apply({}, *qkv, mask=mask, causal=causal)
        outputs = outputs if mask is None else jnp.where(mask[..., None, None], outputs, 0)
        return (outputs * WEIGHTS).sum(), outputs

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


def assert_close(actual, expected):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), actual, expected)


@pytest.mark.parametrize("causal, masked", [(False, True), (True, False)])
def test_without_a_mesh_it_is_dense(causal, masked):
    mask = MASK if masked else None
    assert_close(value_and_gradients(RING, mask, causal)(Q, K, V), value_and_gradients(DENSE, mask, causal)(Q, K, V))


def test_on_four_devices():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "not on_four_devices"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and "skipped" not in run.stdout, run.stdout + run.stderr


@on_four_devices
@pytest.mark.parametrize(
    "seq, causal, masked", [(1, True, True), (2, True, True), (4, True, True), (4, False, True), (4, True, False)]
)
def test_devices_change_nothing(seq, causal, masked, monkeypatch):
    """Outputs and gradients, in chunks of 4 positions, which do not divide the part of one of four devices."""
    monkeypatch.setattr(chunked_attention, "CHUNK", 4)
    mask = MASK if masked else None
    expected = value_and_gradients(DENSE, mask, causal)(Q, K, V)
    with enter(seq=seq):
        assert_close(value_and_gradients(RING, mask, causal)(Q, K, V), expected)


@on_four_devices
def test_no_gradient_from_the_future():
    @jax.jit
    def gradients(step):
        attend = functools.partial(RING.apply, {}, causal=True)
        return jax.grad(lambda *qkv: (attend(*qkv) * WEIGHTS)[:, step].sum(), argnums=(1, 2))(Q, K, V)

    with enter(seq=4):
        for step in range(1, LENGTH):
            for gradient in gradients(step):
                reached = np.abs(gradient).max(axis=(0, 2, 3)) > 0
                np.testing.assert_array_equal(reached, np.arange(LENGTH) <= step)


@pytest.mark.parametrize("seq", [1, pytest.param(4, marks=on_four_devices)])
def test_padding_is_invisible_even_where_it_is_not_a_number(seq):
    garbage = [jnp.where(MASK[..., None, None], x, np.nan) for x in (Q, K, V)]
    with enter(seq=seq):
        attend = value_and_gradients(RING, MASK, causal=False)
        jax.tree.map(np.testing.assert_array_equal, attend(*garbage), attend(Q, K, V))


@on_four_devices
def test_devices_must_divide_the_length():
    with (
        enter(seq=4),
        pytest.raises(ValueError, match="mixer ring: a sequence of 22 positions cannot be cut over the 4"),
    ):
        RING.apply({}, Q[:, :22], K[:, :22], V[:, :22])


@on_four_devices
@pytest.mark.parametrize("axis", ["data", "fsdp", "model"])
def test_other_axes_keep_their_cut(axis):
    """Nothing is gathered: batch and heads stay where they are."""
    expected = value_and_gradients(DENSE, MASK, causal=True)(Q, K, V)
    with enter(**{axis: 2}, seq=2):
        cut = NamedSharding(jax.sharding.get_mesh(), PartitionSpec(("data", "fsdp"), "seq", "model"))
        given = jax.device_put((Q, K, V), cut)
        compiled = value_and_gradients(RING, MASK, causal=True).lower(*given).compile()
        program, actual = compiled.as_text(), compiled(*given)
    assert "collective-permute" in program and "all-gather" not in program and "all-to-all" not in program
    assert all(array.sharding.is_equivalent_to(cut, array.ndim) for array in jax.tree.leaves(actual))
    assert_close(actual, expected)


@on_four_devices
def test_stacks_agree(random_variables):
    """Scanned, and computed again in the backward pass."""
    x = Q.reshape(BATCH, LENGTH, 8)

    def stack(mixer):
        block = FrozenDict({"num_heads": 2, "mlp_size": 16, "mixer": mixer})
        return Stack(2, block, scan_layers=True, remat="full")

    params = random_variables(stack("dense"), x)

    def gradient(mixer):
        def loss(params):
            outputs = stack(mixer).apply(params, x, mask=MASK, causal=True)
            return jnp.where(MASK[..., None], outputs * WEIGHTS.reshape(x.shape), 0).sum()

        return jax.jit(jax.value_and_grad(loss))(params)

    expected = gradient("dense")
    with enter(seq=4):
        assert_close(gradient("ring"), expected)


def cost(length, seq):
    """FLOPs of all devices, of outputs and of gradients, and temporary bytes of one device."""
    with enter(seq=seq):
        cut = NamedSharding(jax.sharding.get_mesh(), PartitionSpec(None, "seq"))
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32, sharding=cut)
        attend = functools.partial(RING.apply, {}, causal=True)
        gradient = jax.grad(lambda *qkv: attend(*qkv).sum(), argnums=(0, 1, 2))
        memory = jax.jit(gradient).lower(x, x, x).compile().memory_analysis().temp_size_in_bytes
        return forward_flops(attend, x, x, x), forward_flops(gradient, x, x, x), memory


@on_four_devices
def test_a_device_needs_memory_for_its_part_and_no_work_is_done_twice(monkeypatch):
    monkeypatch.setattr(chunked_attention, "CHUNK", 32)
    shared, longer, alone = cost(2048, 4), cost(8192, 4), cost(8192, 1)
    slopes = np.log(np.divide(longer, shared)) / np.log(4)
    np.testing.assert_allclose(slopes, [2, 2, 1], atol=0.1)
    np.testing.assert_allclose(np.divide(longer, alone)[:2], 1, atol=0.05)
    assert longer[2] < alone[2] / 3
