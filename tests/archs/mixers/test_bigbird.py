"""Global, windowed and random attention between blocks."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers import mixers
from archs.layers.mixers import bigbird, dense
from train.flops import forward_flops

RNG = np.random.default_rng(0)
LENGTH = 31
Q, K, V, WEIGHTS = (jnp.asarray(RNG.normal(size=(2, LENGTH, 2, 4)), jnp.float32) for _ in range(4))
MASK = jnp.asarray(np.arange(LENGTH)[None] < np.array([[31], [21]]))
FIELDS = {"block_size": 3, "num_random_blocks": 2}  # 11 blocks, the last of them not full


def build(**fields):
    return mixers.build("bigbird", {**FIELDS, **fields})


def value_and_gradients(attend, mask):
    """The outputs at real positions, and gradients of a weighting of them."""

    def loss(*qkv):
        outputs = attend(*qkv)
        outputs = outputs if mask is None else jnp.where(mask[..., None, None], outputs, 0)
        return (outputs * WEIGHTS).sum(), outputs

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))


def plan_of(num_blocks, num_heads, **fields):
    mix = build(**fields)
    fixed = bigbird.fixed_blocks(num_blocks, mix.num_global_blocks, mix.num_window_blocks)
    return fixed, bigbird.random_blocks(fixed, num_blocks, num_heads, mix.num_random_blocks, mix.seed)


def seen_by_definition(num_global_blocks, num_window_blocks, chosen):
    """Which blocks each block sees in each head, as a matrix; the random blocks are given."""
    blocks = np.arange(11)
    start, end = (num_global_blocks + 1) // 2, num_global_blocks // 2
    is_global = (blocks < start) | (blocks >= 11 - end)
    near = abs(blocks[:, None] - blocks[None]) <= num_window_blocks // 2
    seen = np.repeat((is_global[:, None] | is_global[None] | near)[None], 2, axis=0)
    for head in range(2):
        for row, others in enumerate(chosen[head]):
            seen[head, start + row, others[others >= 0]] = True
    return seen


@pytest.mark.parametrize(
    "num_global_blocks, num_window_blocks, masked", [(2, 3, False), (2, 3, True), (3, 1, True), (1, 5, True)]
)
def test_gathered_blocks_change_nothing(num_global_blocks, num_window_blocks, masked):
    """Outputs and gradients are those of the whole matrix."""
    mask = MASK if masked else None
    fields = {"num_global_blocks": num_global_blocks, "num_window_blocks": num_window_blocks}
    seen = seen_by_definition(*fields.values(), plan_of(11, 2, **fields)[1])
    visible = jnp.asarray(seen.repeat(3, axis=1).repeat(3, axis=2)[:, :LENGTH, :LENGTH])

    def whole(q, k, v):
        real = dense.visible_keys(LENGTH, LENGTH, mask, causal=False)
        heads = [slice(head, head + 1) for head in range(2)]
        parts = [dense.plain(*(x[:, :, h] for x in (q, k, v)), real & visible[None, h]) for h in heads]
        return jnp.concatenate(parts, axis=2)

    mix = functools.partial(build(**fields).apply, {}, mask=mask)
    actual, expected = (value_and_gradients(attend, mask)(Q, K, V) for attend in (mix, whole))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), actual, expected)


@pytest.mark.parametrize(
    "fields, masked",
    [
        ({"num_random_blocks": 8}, True),
        ({"num_random_blocks": 8}, False),
        ({"num_window_blocks": 21}, True),
        ({"num_global_blocks": 10}, True),
        ({"num_global_blocks": 11}, True),
        ({"block_size": 64}, True),
    ],
    ids=str,
)
def test_blocks_that_see_everything_are_dense(fields, masked):
    mask = MASK if masked else None
    outputs = [
        value_and_gradients(functools.partial(mix.apply, {}, mask=mask), mask)(Q, K, V)
        for mix in (build(**fields), mixers.build("dense", {}))
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), *outputs)


def test_random_blocks_are_others_and_each_once():
    fixed, chosen = plan_of(40, 3, num_random_blocks=5)
    for head in chosen:
        for always, others in zip(fixed, head, strict=True):
            assert len({*others}) == 5 and not {*others} & {*always} and others.min() >= 0 and others.max() < 40
    assert {*chosen.ravel()} == {*range(1, 39)}
    assert not np.array_equal(chosen[0], chosen[1])


def test_random_blocks_are_a_function_of_the_seed():
    _, chosen = plan_of(40, 2)
    np.testing.assert_array_equal(chosen, plan_of(40, 2)[1])
    assert not np.array_equal(chosen, plan_of(40, 2, seed=1)[1])
    apply = jax.jit(build().apply)
    assert not np.allclose(apply({}, Q, K, V), jax.jit(build(seed=1).apply)({}, Q, K, V))


def test_padding_is_invisible_even_where_it_is_not_a_number():
    attend = value_and_gradients(functools.partial(build().apply, {}, mask=MASK), MASK)
    garbage = [jnp.where(MASK[..., None, None], x, np.nan) for x in (Q, K, V)]
    jax.tree.map(np.testing.assert_array_equal, attend(*garbage), attend(Q, K, V))


def test_work_and_memory_are_linear():
    mix = functools.partial(build(block_size=8).apply, {})
    lengths = [128, 512, 2048]

    def cost(length):
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        gradient = jax.grad(lambda *qkv: mix(*qkv).sum(), argnums=(0, 1, 2))
        memory = jax.jit(gradient).lower(x, x, x).compile().memory_analysis().temp_size_in_bytes
        return forward_flops(mix, x, x, x), forward_flops(gradient, x, x, x), memory

    for costs in zip(*map(cost, lengths), strict=True):
        slope = np.polyfit(np.log(lengths), np.log(costs), 1)[0]
        assert abs(slope - 1) < 0.1


def test_window_must_be_odd():
    with pytest.raises(ValueError, match="mixer bigbird: num_window_blocks is 4; allowed: odd numbers"):
        build(num_window_blocks=4).apply({}, Q, K, V)
