"""Linformer: projections along the sequence, what they share, and linear cost."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers import mixers
from archs.layers.attention import MultiHeadAttention
from archs.layers.stack import Stack, stack_layers
from train.flops import forward_flops

RNG = np.random.default_rng(0)
SHARING = ("none", "headwise", "key_value")
MASK = jnp.asarray(np.arange(6)[None] < np.array([[6], [4]]))


def build(**fields):
    return mixers.build("linformer", {"max_length": 6, "projection_size": 3, **fields})


def heads(length: int, width: int = 4) -> jax.Array:
    return jnp.asarray(RNG.normal(size=(2, length, 2, width)), jnp.float32)


Q, K, V = heads(6), heads(6), heads(6, 3)


@pytest.mark.parametrize("sharing", SHARING)
def test_each_head_is_the_formula(sharing, random_variables):
    mix = build(sharing=sharing)
    variables = random_variables(mix, Q, K, V)
    params = variables["params"]
    e, f = (params["kernel"],) * 2 if sharing == "key_value" else (params["key_kernel"], params["value_kernel"])
    assert e.shape == ((2 if sharing == "none" else 1), 6, 3)
    for head in range(2):
        e_head, f_head = (np.asarray(kernel[min(head, len(kernel) - 1)]) for kernel in (e, f))
        scores = Q[:, :, head] @ (e_head.T @ K[:, :, head]).swapaxes(1, 2) / 2
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        outputs = jax.jit(mix.apply)(variables, Q, K, V)[:, :, head]
        np.testing.assert_allclose(outputs, weights @ (f_head.T @ V[:, :, head]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sharing, kernels", [("none", 4), ("headwise", 2), ("key_value", 1)])
def test_what_is_shared_is_counted_once(sharing, kernels):
    variables = jax.eval_shape(build(sharing=sharing).init, jax.random.key(0), Q, K, V)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == kernels * 6 * 3
    assert all(name.endswith("kernel") for name in variables["params"])


def test_identity_is_dense_attention():
    identity = {"key_kernel": jnp.eye(6)[None], "value_kernel": jnp.eye(6)[None]}
    outputs = build(projection_size=6).apply({"params": identity}, Q, K, V)
    np.testing.assert_allclose(outputs, mixers.build("dense", {}).apply({}, Q, K, V), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sharing", SHARING)
def test_padding_is_invisible(sharing, random_variables):
    """Whatever it holds, not a number included; and an input cut before it gives the same."""
    mix = build(sharing=sharing)
    variables = random_variables(mix, Q, K, V)
    apply = jax.jit(functools.partial(mix.apply, mask=MASK))
    expected = apply(variables, Q, K, V)
    for garbage in (1e3, np.nan):
        k, v = (jnp.where(MASK[:, :, None, None], x, garbage) for x in (K, V))
        np.testing.assert_array_equal(apply(variables, Q, k, v), expected)
        gradients = jax.jit(jax.grad(lambda *qkv: apply(variables, *qkv).sum(), argnums=(0, 1, 2)))(Q, k, v)
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        np.testing.assert_array_equal(np.abs(gradients[1]).max(axis=(2, 3)) > 0, MASK)
    cut = jax.jit(mix.apply)(variables, Q[1:], K[1:, :4], V[1:, :4])
    np.testing.assert_allclose(cut, expected[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("cross", [False, True])
def test_gradient_reaches_every_parameter(sharing, cross, random_variables):
    fields = {"max_length": 6, "projection_size": 3, "sharing": sharing}
    attention = MultiHeadAttention(num_heads=2, mixer="linformer", mixer_kwargs=fields)
    x = jnp.asarray(RNG.normal(size=(2, 6, 8)), jnp.float32)
    inputs = (x[:, :5], x) if cross else (x,)
    variables = random_variables(attention, *inputs)
    gradients = jax.jit(jax.grad(lambda v: jnp.square(attention.apply(v, *inputs)).sum()))(variables)
    assert all(np.abs(gradient).max() > 1e-6 for gradient in jax.tree.leaves(gradients))


@pytest.mark.parametrize("scan_layers", [False, True])
def test_stacks(scan_layers, random_variables):
    fields = {"mixer": "linformer", "mixer_kwargs": {"max_length": 6, "projection_size": 3}}
    x = jnp.asarray(RNG.normal(size=(2, 6, 8)), jnp.float32)
    looped = Stack(2, {"num_heads": 2, "mlp_size": 8, **fields})
    params = random_variables(looped, x)["params"]
    expected = jax.jit(functools.partial(looped.apply, mask=MASK))({"params": params}, x)
    for dtype, tolerance in (("float32", 1e-5), ("bfloat16", 5e-2)):
        block = {"num_heads": 2, "mlp_size": 8, "dtype": dtype, **fields}
        stack = Stack(2, block, scan_layers=scan_layers, remat="full")
        given = stack_layers(params) if scan_layers else params
        outputs = jax.jit(functools.partial(stack.apply, mask=MASK))({"params": given}, x)
        np.testing.assert_allclose(outputs.astype(jnp.float32), expected, rtol=tolerance, atol=tolerance)


def test_longer_than_max_length():
    with pytest.raises(ValueError, match="mixer linformer: the input has 7 tokens, and max_length is 6; shorten"):
        jax.eval_shape(build().init, jax.random.key(0), Q, heads(7), heads(7))


def test_causality_is_refused():
    attention = MultiHeadAttention(num_heads=2, mixer="linformer", mixer_kwargs={"max_length": 6})
    with pytest.raises(ValueError, match="mixer linformer: cannot honour 'causal'"):
        jax.eval_shape(functools.partial(attention.init, causal=True), jax.random.key(0), jnp.zeros((1, 6, 8)))


def test_work_and_memory_are_linear():
    """Of the gradient too, for a fixed k, where max_length grows with the input."""

    def costs(length):
        mix = build(max_length=length, projection_size=16)
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        variables = jax.eval_shape(mix.init, jax.random.key(0), x, x, x)
        gradient = jax.grad(lambda variables, x: mix.apply(variables, x, x, x).sum(), argnums=(0, 1))
        memory = jax.jit(gradient).lower(variables, x).compile().memory_analysis().temp_size_in_bytes
        return forward_flops(mix.apply, variables, x, x, x), forward_flops(gradient, variables, x), memory

    lengths = [2048, 8192]
    slopes = np.polyfit(np.log(lengths), np.log([costs(length) for length in lengths]), 1)[0]
    np.testing.assert_allclose(slopes, 1, atol=0.1)


def test_layers_share_one_projection(random_variables):
    """Looped and scanned, with one gradient from all layers."""
    fields = {"max_length": 6, "projection_size": 3, "sharing": "layerwise"}
    block = {"num_heads": 2, "mlp_size": 8, "mixer": "linformer", "mixer_kwargs": fields}
    x = jnp.asarray(RNG.normal(size=(2, 6, 8)), jnp.float32)
    looped, scanned = Stack(3, block), Stack(3, block, scan_layers=True, remat="full")
    params = random_variables(looped, x)["params"]
    assert params["mixer"]["kernel"].shape == (1, 6, 3) and "mixer" not in params["layer_0"]["attention"]

    def value_and_gradient(stack, params):
        return jax.jit(jax.value_and_grad(lambda p: jnp.square(stack.apply({"params": p}, x)).sum()))(params)

    one, gradient = value_and_gradient(looped, params)
    other, stacked_gradient = value_and_gradient(scanned, stack_layers(params))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert np.abs(gradient["mixer"]["kernel"]).max() > 1e-3
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, stacked_gradient, stack_layers(gradient))
