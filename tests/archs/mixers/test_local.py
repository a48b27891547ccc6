"""Attention within a sliding window."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers import mixers
from archs.layers.attention import MultiHeadAttention
from archs.layers.mixers import dense
from train.flops import forward_flops

RNG = np.random.default_rng(0)
LENGTH = 11
Q, K, V, WEIGHTS = (jnp.asarray(RNG.normal(size=(2, LENGTH, 2, 4)), jnp.float32) for _ in range(4))
MASK = jnp.asarray(np.arange(LENGTH)[None] < np.array([[11], [6]]))


def build(**fields):
    return mixers.build("local", fields)


def window(size, mask, causal):
    """Which keys each query sees, as a matrix."""
    places = np.arange(LENGTH)
    near = jnp.asarray(abs(places[:, None] - places[None]) <= size)
    return dense.visible_keys(LENGTH, LENGTH, mask, causal) & near[None, None]


def value_and_gradients(attend, mask):
    """The outputs at real positions, and gradients of a weighting of them."""

    def loss(*qkv):
        outputs = attend(*qkv)
        outputs = outputs if mask is None else jnp.where(mask[..., None, None], outputs, 0)
        return (outputs * WEIGHTS).sum(), outputs

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


@pytest.mark.parametrize("size", [1, 3, 4, 40])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_blocks_change_nothing(size, masked, causal):
    """Outputs and gradients are those of the whole matrix, also where blocks do not divide the length."""
    mask = MASK if masked else None
    mix = functools.partial(build(window_size=size).apply, {}, mask=mask, causal=causal)
    actual = value_and_gradients(mix, mask)(Q, K, V)
    expected = value_and_gradients(lambda *qkv: dense.plain(*qkv, window(size, mask, causal)), mask)(Q, K, V)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), actual, expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_a_window_over_everything_is_dense(masked, causal):
    mask = MASK if masked else None
    local, full = build(window_size=LENGTH - 1), mixers.build("dense", {})
    outputs = [
        value_and_gradients(functools.partial(mix.apply, {}, mask=mask, causal=causal), mask)(Q, K, V)
        for mix in (local, full)
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), *outputs)


def test_padding_is_invisible_even_where_it_is_not_a_number():
    attend = value_and_gradients(functools.partial(build(window_size=3).apply, {}, mask=MASK), MASK)
    garbage = [jnp.where(MASK[..., None, None], x, np.nan) for x in (Q, K, V)]
    jax.tree.map(np.testing.assert_array_equal, attend(*garbage), attend(Q, K, V))


def test_no_gradient_from_the_future_or_from_outside_the_window():
    mix = build(window_size=3)

    @jax.jit
    def gradients(step):
        attend = functools.partial(mix.apply, {}, causal=True)
        return jax.grad(lambda *qkv: (attend(*qkv) * WEIGHTS)[:, step].sum(), argnums=(1, 2))(Q, K, V)

    places = np.arange(LENGTH)
    for step in range(1, LENGTH):
        for gradient in gradients(step):
            reached = np.abs(gradient).max(axis=(0, 2, 3)) > 0
            np.testing.assert_array_equal(reached, (places <= step) & (places >= step - 3))


@pytest.mark.parametrize("parts", [(1,) * LENGTH, (5, 6)])
def test_cached_equals_uncached(parts, random_variables):
    x = Q.reshape(2, LENGTH, 8)
    attention = MultiHeadAttention(num_heads=2, mixer="local", mixer_kwargs={"window_size": 3})
    params = random_variables(attention, x)
    mask = MASK[:, ::-1]
    expected = jax.jit(functools.partial(attention.apply, causal=True))(params, x, mask=mask)
    cache = jax.tree.map(jnp.zeros_like, attention.init(jax.random.key(0), x, decode=True)["cache"])
    apply = jax.jit(functools.partial(attention.apply, decode=True, mutable=["cache"]))
    start = 0
    for part in parts:
        now = slice(start, start + part)
        outputs, changed = apply({**params, "cache": cache}, x[:, now], mask=mask[:, now])
        real = np.asarray(mask[:, now])
        np.testing.assert_allclose(outputs[real], expected[:, now][real], rtol=1e-5, atol=1e-5)
        cache, start = changed["cache"], start + part


def test_dropout_is_of_the_weights_in_training():
    mix, ones = build(window_size=3, dropout_rate=0.5), jnp.ones_like(V)
    np.testing.assert_allclose(jax.jit(mix.apply)({}, Q, K, ones), 1, rtol=1e-6)
    train = functools.partial(mix.apply, train=True, rngs={"dropout": jax.random.key(0)})
    assert np.std(jax.jit(train)({}, Q, K, ones)) > 0.1


@pytest.mark.parametrize("causal", [False, True])
def test_work_and_memory_are_linear(causal):
    mix = functools.partial(build(window_size=16).apply, {}, causal=causal)
    lengths = [256, 1024, 4096]

    def cost(length):
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        gradient = jax.grad(lambda *qkv: mix(*qkv).sum(), argnums=(0, 1, 2))
        memory = jax.jit(gradient).lower(x, x, x).compile().memory_analysis().temp_size_in_bytes
        return forward_flops(mix, x, x, x), forward_flops(gradient, x, x, x), memory

    for costs in zip(*map(cost, lengths), strict=True):
        slope = np.polyfit(np.log(lengths), np.log(costs), 1)[0]
        assert abs(slope - 1) < 0.1


def test_window_must_hold_something():
    with pytest.raises(ValueError, match="mixer local: window_size is 0; allowed: at least 1"):
        build(window_size=0)
