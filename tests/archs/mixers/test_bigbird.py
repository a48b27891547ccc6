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
FIELDS = {"block_size": 3, "random_blocks": 2}  # 11 blocks, the last of them not full


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
    fixed = bigbird.fixed_plan(num_blocks, mix.global_blocks, mix.window_blocks)
    return fixed, bigbird.random_plan(fixed, num_blocks, num_heads, mix.random_blocks, mix.seed)


def seen_by_definition(global_blocks, window_blocks, chosen):
    """Which blocks each block sees in each head, as a matrix; the random blocks are given."""
    blocks = np.arange(11)
    start, end = (global_blocks + 1) // 2, global_blocks // 2
    is_global = (blocks < start) | (blocks >= 11 - end)
    near = 2 * abs(blocks[:, None] - blocks[None]) < window_blocks
    seen = np.repeat((is_global[:, None] | is_global[None] | near)[None], 2, axis=0)
    for head in range(2):
        for row, others in enumerate(chosen[head]):
            seen[head, start + row, others[others >= 0]] = True
    return seen


@pytest.mark.parametrize(
    "global_blocks, window_blocks, random_blocks, masked",
    [
        (2, 3, 2, False),
        (2, 3, 2, True),
        (3, 1, 2, True),
        (1, 5, 2, True),
        (0, 0, 2, True),  # R of the paper's Table 1
        (0, 3, 0, True),  # W
        (0, 3, 2, True),  # R + W
        (2, 0, 0, True),
        (2, 0, 2, True),
        (2, 3, 0, True),
    ],
)
def test_gathered_blocks_change_nothing(global_blocks, window_blocks, random_blocks, masked):
    """Outputs and gradients are those of the whole matrix, and zero where no key is seen."""
    mask = MASK if masked else None
    fields = {"global_blocks": global_blocks, "window_blocks": window_blocks, "random_blocks": random_blocks}
    seen = seen_by_definition(global_blocks, window_blocks, plan_of(11, 2, **fields)[1])
    visible = jnp.asarray(seen.repeat(3, axis=1).repeat(3, axis=2)[:, :LENGTH, :LENGTH])

    def whole(q, k, v):
        real = dense.visible_keys(LENGTH, LENGTH, mask, causal=False)
        parts = []
        for head in range(2):
            keys = real & visible[None, head : head + 1]
            mixed = dense.plain(*(x[:, :, head : head + 1] for x in (q, k, v)), keys)
            parts.append(jnp.where(keys.any(-1)[:, 0, :, None, None], mixed, 0))
        return jnp.concatenate(parts, axis=2)

    mix = functools.partial(build(**fields).apply, {}, mask=mask)
    actual, expected = (value_and_gradients(attend, mask)(Q, K, V) for attend in (mix, whole))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), actual, expected)


def test_a_window_alone_is_attention_within_neighbouring_blocks():
    outputs = jax.jit(build(global_blocks=0, random_blocks=0).apply)({}, Q, K, V)
    for block in range(11):
        rows, keys = slice(3 * block, 3 * block + 3), slice(max(3 * block - 3, 0), 3 * block + 6)
        scores = np.einsum("bthk,bshk->bhts", Q[:, rows], K[:, keys]) / 2
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        expected = np.einsum("bhts,bshv->bthv", weights, V[:, keys])
        np.testing.assert_allclose(outputs[:, rows], expected, rtol=1e-5, atol=1e-6)


def test_a_query_whose_random_blocks_are_padding_gets_zero():
    fields = {"global_blocks": 0, "window_blocks": 0, "random_blocks": 1}
    chosen = plan_of(11, 2, **fields)[1][:, :, 0]  # [head, block]; 7 blocks of the second row are real
    outputs = jax.jit(build(**fields).apply)({}, Q, K, V, mask=MASK)[1, :21].reshape(7, 3, 2, 4)
    is_zero = np.all(np.asarray(outputs) == 0, axis=(1, 3))
    np.testing.assert_array_equal(is_zero.T, chosen[:, :7] >= 7)
    assert is_zero.any() and not is_zero.all()


@pytest.mark.parametrize(
    "fields, masked",
    [
        ({"random_blocks": 8}, True),
        ({"random_blocks": 8}, False),
        ({"window_blocks": 21}, True),
        ({"global_blocks": 10}, True),
        ({"global_blocks": 11}, True),
        ({"block_size": 64}, True),
        ({"block_size": 64, "global_blocks": 0, "window_blocks": 0}, True),
        ({"global_blocks": 0, "window_blocks": 21, "random_blocks": 0}, True),
        ({"global_blocks": 0, "window_blocks": 0, "random_blocks": 11}, True),
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
    fixed, chosen = plan_of(40, 3, random_blocks=5)
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


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"global_blocks": 0, "window_blocks": 0},
        {"global_blocks": 0, "random_blocks": 0},
        {"global_blocks": 0},
        {"window_blocks": 0, "random_blocks": 0},
    ],
    ids=str,
)
def test_padding_is_invisible_even_where_it_is_not_a_number(fields):
    attend = value_and_gradients(functools.partial(build(**fields).apply, {}, mask=MASK), MASK)
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


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"window_blocks": 4}, "window_blocks is 4; allowed: odd numbers, for as many blocks before as after, or 0"),
        ({"random_blocks": -1}, "random_blocks is -1; allowed: at least 0"),
        (
            {"global_blocks": 0, "window_blocks": 0, "random_blocks": 0},
            "global_blocks, window_blocks, random_blocks are all 0, so nothing is seen; raise one of them",
        ),
    ],
)
def test_numbers_of_blocks_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=f"^mixer bigbird: {message}"):
        build(**fields).apply({}, Q, K, V)
