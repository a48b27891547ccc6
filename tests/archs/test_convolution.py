"""Convolution with normalisation: what its padding keeps, what its normalisation starts as and keeps."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers.convolution import ConvNorm, pads

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 6, 3)), jnp.float32)


@pytest.mark.parametrize("strides", [1, 2])
def test_circular_convolution_commutes_with_circular_shift_unless_strided(strides, random_variables):
    layer = ConvNorm(4, (3, 3), strides=strides, padding="circular")
    variables = random_variables(layer, IMAGE)
    apply = jax.jit(layer.apply)
    after = jnp.roll(apply(variables, IMAGE), (1, 2), axis=(1, 2))
    before = apply(variables, jnp.roll(IMAGE, (strides, 2 * strides), axis=(1, 2)))
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-5)
    if strides > 1:  # a shift by less than the stride meets other places
        other = apply(variables, jnp.roll(IMAGE, (1, 2), axis=(1, 2)))
        assert min(np.abs(other - jnp.roll(after, shift, axis=1)).max() for shift in range(4)) > 0.1


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("kernel_size", [(1,), (3,), (5,), (4,), (3, 3), (1, 7)])
def test_padding_keeps_the_size_at_stride_one(kernel_size, padding):
    x = jax.ShapeDtypeStruct((2, *(8, 9)[: len(kernel_size)], 3), "float32")
    layer = ConvNorm(4, kernel_size, padding=padding)
    outputs, _ = jax.eval_shape(lambda x: layer.init_with_output(jax.random.key(0), x), x)
    assert outputs.shape == (*x.shape[:-1], 4)


def test_no_padding_shrinks():
    layer = ConvNorm(4, (3, 5), padding="none")
    outputs, _ = jax.eval_shape(lambda x: layer.init_with_output(jax.random.key(0), x), IMAGE)
    assert outputs.shape == (2, 6, 2, 4)


def test_padding_is_symmetric_for_odd_kernels():
    assert pads("zero", (1, 3, 7)) == [(0, 0), (1, 1), (3, 3)]


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_stride_skips_places_and_moves_none(padding, random_variables):
    """With XLA's "SAME", the first place of an even size would be another."""
    dense, strided = (ConvNorm(4, (3, 3), strides=strides, padding=padding) for strides in (1, 2))
    variables = random_variables(dense, IMAGE)
    expected = jax.jit(dense.apply)(variables, IMAGE)[:, ::2, ::2]
    np.testing.assert_allclose(jax.jit(strided.apply)(variables, IMAGE), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("zero_scale", [False, True])
def test_scale_starts_as_one_or_zero(zero_scale):
    layer = ConvNorm(4, (3, 3), activation=None, zero_scale=zero_scale)
    outputs, variables = jax.jit(layer.init_with_output)(jax.random.key(0), IMAGE)
    np.testing.assert_array_equal(variables["params"]["norm"]["scale"], 1 - zero_scale)
    assert (np.abs(outputs).max() == 0) == zero_scale


def test_training_normalises_and_keeps_a_share_of_the_statistics():
    layer = ConvNorm(4, (3, 3), activation=None, epsilon=1e-3)
    variables = jax.jit(layer.init)(jax.random.key(0), IMAGE)
    kernel = variables["params"]["conv"]["kernel"]
    x = jax.lax.conv_general_dilated(IMAGE, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    mean, variance = x.mean(axis=(0, 1, 2), keepdims=True), x.var(axis=(0, 1, 2), keepdims=True)

    outputs, updated = jax.jit(lambda v, x: layer.apply(v, x, train=True, mutable=["batch_stats"]))(variables, IMAGE)
    np.testing.assert_allclose(outputs, (x - mean) / np.sqrt(variance + 1e-3), rtol=1e-4, atol=1e-5)
    statistics = updated["batch_stats"]["norm"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean.ravel(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * variance.ravel(), rtol=1e-4)


def test_normalisation_takes_the_bias_away_again(random_variables):
    layer = ConvNorm(4, (3, 3), use_bias=True)
    variables = random_variables(layer, IMAGE)
    training = jax.jit(lambda v, x: layer.apply(v, x, train=True, mutable=["batch_stats"])[0])
    outputs = training(variables, IMAGE)
    variables["params"]["conv"]["bias"] += 10.0
    np.testing.assert_allclose(training(variables, IMAGE), outputs, rtol=1e-3, atol=1e-3)


def test_statistics_are_float32_at_least():
    layer = ConvNorm(4, (3, 3), dtype="bfloat16", param_dtype="bfloat16")
    outputs, variables = jax.eval_shape(lambda x: layer.init_with_output(jax.random.key(0), x), IMAGE)
    assert outputs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["batch_stats"])} == {jnp.dtype("float32")}
