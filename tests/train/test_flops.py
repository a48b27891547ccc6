"""The count against hand-made numbers everywhere, and against XLA's own where XLA is right."""

import warnings
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.experimental import pallas as pl
from jax.sharding import PartitionSpec as P

from train import flops


@pytest.fixture(autouse=True)
def nothing_uncounted():
    """No test may meet a lower bound unless it asks for one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", flops.LowerBound)
        yield


def array(*shape: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def xla(function, *args) -> float:
    analysis = jax.jit(function).lower(*args).compile().cost_analysis()
    assert analysis is not None
    return analysis["flops"]


def convolution(**options):
    return lambda x, kernel: jax.lax.conv_general_dilated(
        x,
        kernel,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        **{"window_strides": (1, 1), "padding": "SAME"} | options,
    )


def test_dense_is_two_per_multiply_add_and_one_per_bias():
    assert flops.forward_flops(lambda x, w, b: x @ w + b, array(5, 3), array(3, 7), array(1, 7)) == 5 * 7 * (2 * 3 + 1)


def test_batched_contraction():
    scores = partial(jnp.einsum, "bthk,bshk->bhts")
    assert flops.forward_flops(scores, array(2, 5, 3, 4), array(2, 6, 3, 4)) == 2 * 2 * 3 * 5 * 6 * 4


@pytest.mark.parametrize(
    ("options", "kernel", "expected"),
    [
        ({}, (3, 3, 4, 6), 2 * (2 * 8 * 8 * 6) * (3 * 3 * 4)),
        ({"padding": "VALID"}, (3, 3, 4, 6), 2 * (2 * 6 * 6 * 6) * (3 * 3 * 4)),
        ({"window_strides": (2, 2)}, (3, 3, 4, 6), 2 * (2 * 4 * 4 * 6) * (3 * 3 * 4)),
        ({"feature_group_count": 2}, (3, 3, 2, 6), 2 * (2 * 8 * 8 * 6) * (3 * 3 * 2)),
        ({"feature_group_count": 4}, (3, 3, 1, 4), 2 * (2 * 8 * 8 * 4) * (3 * 3)),
        ({"rhs_dilation": (2, 2), "padding": "VALID"}, (3, 3, 4, 6), 2 * (2 * 4 * 4 * 6) * (3 * 3 * 4)),
        ({"batch_group_count": 2}, (3, 3, 4, 6), 2 * (8 * 8 * 6) * (3 * 3 * 4)),
    ],
    ids=["same", "valid", "strided", "grouped", "depthwise", "dilated", "batch_grouped"],
)
def test_convolution_counts_every_kernel_position(options, kernel, expected):
    assert flops.forward_flops(convolution(**options), array(2, 8, 8, 4), array(*kernel)) == expected


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_costs_twice_as_much_backward(stride):
    """Holes that the transposed convolution of the backward pass puts into its input cost nothing."""
    run = convolution(window_strides=(stride, stride))
    x, kernel, gradient = array(2, 8, 8, 4), array(3, 3, 4, 6), array(2, 8 // stride, 8 // stride, 6)
    forward = flops.matmul_flops(run, x, kernel)
    backward = flops.matmul_flops(lambda x, kernel, g: jax.vjp(run, x, kernel)[1](g), x, kernel, gradient)
    assert backward == 2 * forward


def test_elementwise_reductions_and_what_is_free():
    x = array(4, 8)
    assert flops.forward_flops(lambda x: jnp.exp(x) * 2 + 1, x) == 3 * 32
    assert flops.forward_flops(lambda x: x.sum(-1), x) == 32
    assert flops.forward_flops(lambda x: jnp.where(x > 0, x, 0).T.reshape(2, 16)[:, ::-1], x) == 0
    assert flops.forward_flops(lambda i: i * 2 + 1, array(8, dtype=jnp.int32)) == 0
    assert flops.forward_flops(lambda x: jax.lax.reduce(x, 0.0, lambda a, b: a * b + 1, (0,)), x) == 2 * 32
    assert flops.forward_flops(lambda x, i: x.at[i].add(1.0), x, array(3, dtype=jnp.int32)) == 3 * 8


def test_pooling_counts_its_window():
    pooled = 2 * 4 * 4 * 3
    assert flops.forward_flops(lambda x: nn.max_pool(x, (2, 2), (2, 2)), array(2, 8, 8, 3)) == 4 * pooled
    assert flops.forward_flops(lambda x: nn.avg_pool(x, (2, 2), (2, 2)), array(2, 8, 8, 3)) == 4 * pooled + pooled


def test_scan_costs_its_body_times_its_length_where_xla_counts_it_once():
    length, width = 100, 32

    def recurrence(x, w):
        return jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), x, length=length)[0]

    body = 2 * width * width + width
    args = array(1, width), array(width, width)
    assert flops.forward_flops(recurrence, *args) == length * body
    assert xla(recurrence, *args) < 3 * body


def test_nested_loops_multiply():
    def inner(x, _):
        return jax.lax.fori_loop(0, 3, lambda _, y: y * 2.0, x), None

    assert flops.forward_flops(lambda x: jax.lax.scan(inner, x, length=5), array(7)) == 5 * 3 * 7


def test_cond_costs_its_most_expensive_branch():
    def run(flag, x):
        return jax.lax.cond(flag, lambda x: x * 2, lambda x: x * 2 + 1, x)

    assert flops.forward_flops(run, array(dtype=bool), array(8)) == 16


def test_while_counts_its_body_once_and_says_so():
    halve = partial(jax.lax.while_loop, lambda x: x[0] > 1, lambda x: x / 2)
    with pytest.warns(flops.LowerBound, match="no known trip count"):
        assert flops.forward_flops(halve, array(8)) == 8


def test_an_unknown_primitive_counts_zero_and_says_so():
    with pytest.warns(flops.LowerBound, match="'eigh'"):
        flops.forward_flops(jnp.linalg.eigvalsh, array(4, 4))


def test_calls_are_followed():
    softplus = jax.custom_vjp(lambda x: jnp.log(1 + jnp.exp(x)))
    softplus.defvjp(lambda x: (softplus(x), x), lambda x, g: (g * nn.sigmoid(x),))
    for call in (jax.jit(lambda x: jnp.sin(x) + 1), jax.checkpoint(lambda x: jnp.sin(x) + 1)):
        assert flops.forward_flops(call, array(8)) == 16
    assert flops.forward_flops(softplus, array(8)) == 24
    assert flops.forward_flops(nn.relu, array(8)) == 8  # A custom_jvp inside a jit.


def test_dead_code_is_not_counted():
    def unread(x):
        x @ x  # Nobody reads this product.
        return x * 2

    assert flops.forward_flops(unread, array(8, 8)) == 64


def test_shard_map_costs_its_body_on_every_device_that_holds_a_different_part():
    mesh = jax.sharding.AbstractMesh((4, 2), ("seq", "data"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    double = jax.shard_map(lambda x: x * 2, mesh=mesh, in_specs=P("seq"), out_specs=P("seq"))
    assert flops.forward_flops(double, array(8, 3)) == 8 * 3


@pytest.mark.parametrize("estimate", [None, pl.CostEstimate(flops=123, transcendentals=0, bytes_accessed=0)])
def test_pallas_kernel_costs_its_estimate_or_its_body_times_its_grid(estimate):
    def kernel(x, y, out):
        out[...] = x[...] @ y[...]

    rows = pl.BlockSpec((4, 8), lambda i: (i, 0))
    whole = pl.BlockSpec((8, 8), lambda i: (0, 0))
    product = pl.pallas_call(
        kernel, out_shape=array(16, 8), grid=4, in_specs=[rows, whole], out_specs=rows, cost_estimate=estimate
    )
    assert flops.forward_flops(product, array(16, 8), array(8, 8)) == (123 if estimate else 2 * 16 * 8 * 8)


def test_scopes_reach_into_loops():
    def run(x):
        with jax.named_scope("outer"):
            return jax.lax.scan(lambda y, _: (jax.named_scope("inner")(jnp.sin)(y), None), x, length=3)[0]

    (operation,) = flops.operations(flops.trace(run, array(8)))
    assert operation == flops.Operation("sin", 24, ("outer", "inner"))


@pytest.mark.parametrize("scale", [None, 0.5])
def test_attention_without_a_loop_agrees_with_xla(scale):
    batch, time, heads, width = 2, 64, 4, 32
    qkv = [array(batch, time, heads, width)] * 3
    attend = partial(jax.nn.dot_product_attention, scale=scale)
    products = 2 * 2 * batch * heads * time * time * width
    assert flops.matmul_flops(attend, *qkv) == products
    assert flops.forward_flops(attend, *qkv) == pytest.approx(xla(attend, *qkv), rel=0.03)


def test_dense_and_convolution_agree_with_xla():
    def dense(x, w, b):
        return nn.relu(x @ w + b)

    args = array(16, 64), array(64, 128), array(1, 128)
    assert flops.forward_flops(dense, *args) == pytest.approx(xla(dense, *args), rel=1e-6)
    run = convolution(padding="VALID", feature_group_count=2)
    args = array(2, 12, 12, 8), array(3, 3, 4, 16)
    assert flops.forward_flops(run, *args) == pytest.approx(xla(run, *args), rel=1e-6)


def test_a_gradient_step_of_a_perceptron_agrees_with_xla():
    def loss(w1, w2, x):
        return jnp.sum(nn.relu(x @ w1) @ w2)

    step = jax.grad(loss, argnums=(0, 1))
    args = array(64, 128), array(128, 32), array(16, 64)
    assert flops.forward_flops(step, *args) == pytest.approx(xla(step, *args), rel=0.03)


@pytest.mark.parametrize("cell", [nn.SimpleCell, nn.GRUCell, nn.OptimizedLSTMCell])
def test_recurrent_layer_is_linear_in_time(cell):
    layer = nn.RNN(cell(features=16))

    def cost(time: int) -> int:
        inputs = array(2, time, 8)
        variables = jax.eval_shape(layer.init, jax.random.key(0), inputs)
        return flops.forward_flops(layer.apply, variables, inputs)

    assert cost(200) == 100 * cost(2)
    gates = {nn.SimpleCell: 1, nn.GRUCell: 3, nn.OptimizedLSTMCell: 4}[cell]
    inputs = array(2, 10, 8)
    variables = jax.eval_shape(layer.init, jax.random.key(0), inputs)
    assert flops.matmul_flops(layer.apply, variables, inputs) == 2 * 10 * 2 * (8 + 16) * 16 * gates
