"""Attention, its dense mixer, the Transformer block and positions."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers import mixers
from archs.layers.attention import MultiHeadAttention
from archs.layers.block import Block
from archs.layers.positions import Positions, sinusoidal

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(2, 5, 8)), jnp.float32)
MEMORY = jnp.asarray(RNG.normal(size=(2, 7, 12)), jnp.float32)
MEMORY_MASK = jnp.asarray(np.arange(7)[None] < np.array([[7], [3]]))
MASK = jnp.asarray(np.arange(5)[None] < np.array([[5], [3]]))


def heads(length: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=(2, length, 2, 4)), jnp.float32)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_dense_paths_agree_with_the_formula(causal, masked):
    q, k, v = heads(5), heads(5), heads(5)
    mask = MASK if masked else None
    mix = functools.partial(mixers.build("dense").apply, {}, mask=mask, causal=causal)
    fast = jax.jit(mix)(q, k, v)
    plain, sown = jax.jit(functools.partial(mix, mutable=["intermediates"]))(q, k, v)
    (weights,) = sown["intermediates"]["weights"]

    scores = np.einsum("bthk,bshk->bhts", q, k) / np.sqrt(4)
    visible = np.ones((2, 1, 5, 5), bool)
    visible &= np.tril(np.ones((5, 5), bool)) if causal else True
    visible &= np.asarray(MASK)[:, None, None, :] if masked else True
    exponentials = np.exp(scores) * visible
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fast, np.einsum("bhts,bshk->bthk", expected, v), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain, fast, rtol=1e-5, atol=1e-6)


def test_dense_dropout_is_of_the_weights_in_training():
    q, k, v = heads(5), heads(7), jnp.ones((2, 7, 2, 4))
    mix = mixers.build("dense", dropout_rate=0.5)
    np.testing.assert_allclose(jax.jit(mix.apply)({}, q, k, v), 1, rtol=1e-6)
    train = functools.partial(mix.apply, train=True, rngs={"dropout": jax.random.key(0)})
    dropped = jax.jit(train)({}, q, k, v)
    assert np.std(dropped) > 0.1


def test_cross_attention_widths_differ_and_padding_is_invisible(random_variables):
    attention = MultiHeadAttention(num_heads=2)
    params = random_variables(attention, X, MEMORY)
    shapes = jax.tree.map(jnp.shape, params["params"])
    assert [shapes[name]["kernel"] for name in ("query", "key", "value", "output")] == [
        (8, 2, 4),
        (12, 2, 4),
        (12, 2, 4),
        (2, 4, 8),
    ]

    @jax.jit
    def attend(memory):
        return attention.apply(params, X, memory, mask=MEMORY_MASK)

    garbage = jnp.where(MEMORY_MASK[:, :, None], MEMORY, 1e3)
    np.testing.assert_array_equal(attend(garbage), attend(MEMORY))
    gradient = jax.jit(jax.grad(lambda memory: attend(memory).sum()))(MEMORY)
    np.testing.assert_array_equal(np.abs(gradient).max(-1) > 0, MEMORY_MASK)


def test_cross_attention_to_itself_is_self_attention(random_variables):
    attention = MultiHeadAttention(num_heads=2)
    params = random_variables(attention, X)
    apply = jax.jit(attention.apply)
    np.testing.assert_array_equal(apply(params, X, X), apply(params, X))


def test_number_of_heads_does_not_change_the_size():
    for num_heads in (1, 2, 8):
        attention = MultiHeadAttention(num_heads=num_heads)
        x = jax.ShapeDtypeStruct((1, 4, 512), jnp.float32)
        params = jax.eval_shape(attention.init, jax.random.key(0), x)["params"]
        assert sum(layer["kernel"].size for layer in params.values()) == 4 * 512**2


def test_width_must_be_divisible_by_heads():
    with pytest.raises(ValueError, match="attention: hidden_size 8 is not divisible by num_heads 3"):
        MultiHeadAttention(num_heads=3).init(jax.random.key(0), X)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_has_no_gradient_from_the_future(norm, random_variables):
    block = Block(num_heads=2, mlp_size=16, norm=norm)
    params = random_variables(block, X)
    weights = jnp.asarray(RNG.normal(size=(2, 8)), jnp.float32)  # a plain sum of a post-norm output is constant

    @jax.jit
    def gradient(step):
        return jax.grad(lambda x: (block.apply(params, x, causal=True)[:, step] * weights).sum())(X)

    for step in range(5):
        reached = np.abs(gradient(step)).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(reached, np.arange(5) <= step)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_normalises_before_or_after_the_sum(norm, random_variables):
    block = Block(num_heads=2, mlp_size=16, norm=norm)
    params = random_variables(block, X)
    params["params"]["mlp_norm"] = {"scale": jnp.ones(8), "bias": jnp.zeros(8)}
    outputs = jax.jit(block.apply)(params, X)
    normalised = np.allclose(outputs.mean(-1), 0, atol=1e-5) and np.allclose(outputs.std(-1), 1, atol=1e-2)
    assert normalised == (norm == "post")


def test_sinusoids_are_those_of_the_paper():
    table = sinusoidal(50, 8)
    for position in (0, 3, 49):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 8)
            np.testing.assert_allclose(table[position, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)])


def test_learned_positions_have_a_length(random_variables):
    positions = Positions("learned", max_length=6)
    params = random_variables(positions, X)
    assert jax.tree.map(jnp.shape, params["params"]) == {"embedding": (6, 8)}
    np.testing.assert_allclose(
        positions.apply(params, X) - X, np.broadcast_to(params["params"]["embedding"][:5], X.shape), atol=1e-6
    )
    with pytest.raises(ValueError, match="positions: the input has 7 tokens, and max_length is 6"):
        positions.init(jax.random.key(0), MEMORY)
