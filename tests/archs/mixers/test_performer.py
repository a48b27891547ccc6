"""Performer: random features as estimates, causality by chunks, redrawing, and linear cost."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers import mixers
from archs.layers.attention import MultiHeadAttention
from archs.layers.block import Block
from archs.layers.mixers import performer
from archs.layers.stack import Stack
from train.flops import forward_flops

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(2, 9, 8)), jnp.float32)
MASK = jnp.asarray(np.arange(9)[None] < np.array([[9], [5]]))
KERNELS = ("softmax", "relu")
FLOAT = jnp.dtype("float32")
PROJECTION = jnp.asarray(RNG.normal(size=(8, 4)), jnp.float32)
VARIABLES = {"random": {"projection": PROJECTION}}


def heads(length: int, width: int = 4, size: float = 1.0) -> jax.Array:
    return jnp.asarray(RNG.normal(size=(2, length, 2, width)) * size, jnp.float32)


def build(**fields):
    return mixers.build("performer", {"num_features": 8, **fields})


SMALL = heads(8, 8, 0.3), heads(8, 8, 0.3)  # queries and keys whose kernel few features estimate well


@functools.cache
def kernel_estimates(kernel, orthogonal):
    """φ(q)·φ(k) for SMALL by M = 8 features, of 4000 independent draws, [4000, B, H, T, S]."""

    @jax.jit
    @jax.vmap
    def estimate(key):
        projection = performer.draw_projection(key, 8, 8, orthogonal, FLOAT)
        sides = [performer.features(x, projection, kernel) for x in SMALL]
        queries, keys = (values * jnp.exp(scale)[..., None] for values, scale in sides)
        return jnp.einsum("bthm,bshm->bhts", queries, keys)

    return np.asarray(estimate(jax.random.split(jax.random.key(1), 4000)), np.float64)


def exact_kernel(q, k, kernel):
    """exp(q·k / √K); or the arc-cosine kernel (Cho and Saul, 2009), E max(0, ω·q) max(0, ω·k) of x / K^¼.

    The floor ε adds ε (E max(0, ω·q) + E max(0, ω·k)) + ε² to it, where E max(0, ω·x) = |x| / √(2π).
    """
    width = q.shape[-1]
    q, k = (np.asarray(x, np.float64) / width**0.25 for x in (q, k))
    products = np.einsum("bthk,bshk->bhts", q, k)
    if kernel == "softmax":
        return np.exp(products)
    q_norms, k_norms = np.linalg.norm(q, axis=-1).swapaxes(1, 2), np.linalg.norm(k, axis=-1).swapaxes(1, 2)
    q_norms, k_norms = q_norms[..., :, None], k_norms[..., None, :]
    angles = np.arccos(products / (q_norms * k_norms))
    floor = performer.FLOORS["relu"]
    arc_cosine = q_norms * k_norms * (np.sin(angles) + (np.pi - angles) * np.cos(angles)) / (2 * np.pi)
    return arc_cosine + floor * (q_norms + k_norms) / np.sqrt(2 * np.pi) + floor**2


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_features_estimate_their_kernel_without_bias(kernel, orthogonal):
    estimates = kernel_estimates(kernel, orthogonal)
    errors = (estimates.mean(0) - exact_kernel(*SMALL, kernel)) / (estimates.std(0) / np.sqrt(4000))
    assert np.abs(errors).max() < 5 and np.abs(errors).mean() < 1.2  # of 256 pairs, in standard errors


@pytest.mark.parametrize("kernel", KERNELS)
def test_orthogonal_features_err_less(kernel):
    """At M = K, by a tenth of the squared relative error or more."""
    independent, orthogonal = (
        (kernel_estimates(kernel, orthogonal).var(0) / exact_kernel(*SMALL, kernel) ** 2).mean()
        for orthogonal in (False, True)
    )
    assert orthogonal < 0.9 * independent


def test_rows_are_orthogonal_in_blocks_and_as_long_as_independent_ones():
    draw = jax.jit(jax.vmap(lambda key: performer.draw_projection(key, 10, 4, True, FLOAT)))
    rows = np.asarray(draw(jax.random.split(jax.random.key(0), 1000)), np.float64)
    assert rows.shape == (1000, 10, 4)
    for start in (0, 4, 8):
        block = rows[:, start : start + 4]
        products = block @ block.swapaxes(1, 2)
        np.testing.assert_allclose(products * (1 - np.eye(block.shape[1])), 0, atol=1e-4)
    np.testing.assert_allclose(np.square(rows).sum(-1).mean(), 4, rtol=0.05)
    np.testing.assert_allclose(np.square(rows).sum(-1).var(), 8, rtol=0.1)  # of χ² with 4 degrees of freedom


def test_error_to_softmax_attention_falls_with_the_root_of_features():
    """For inputs small enough that so few features have come to err by little; greater ones need more."""
    (q, k), v, mask = SMALL, heads(8, 8), jnp.ones((2, 8), bool)
    expected = [mixers.build("dense", {}).apply({}, q, k, v, causal=causal) for causal in (False, True)]
    counts, errors = (16, 64, 256), []
    for count in counts:

        def squares(key, count=count):
            projection = performer.draw_projection(key, count, 8, True, FLOAT)
            outputs = (f(q, k, v, mask, projection, "softmax") for f in (performer.attend, performer.attend_causally))
            return jnp.stack([jnp.square(x - y).mean() for x, y in zip(outputs, expected, strict=True)])

        draws = jax.jit(lambda keys, squares=squares: jax.lax.map(squares, keys))
        errors.append(draws(jax.random.split(jax.random.key(2), 100)).mean(0) ** 0.5)
    slopes = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    np.testing.assert_allclose(slopes, -0.5, atol=0.06)
    assert np.max(errors[-1]) < 0.02


def quadratic_form(q, k, v, mask, causal, projection, kernel):
    """Attention with the whole matrix φ(q)·φ(k)."""
    (queries, _), (keys, scale) = (performer.features(x, projection, kernel) for x in (q, k))
    weights = jnp.einsum("bthm,bshm->bhts", queries, keys * jnp.exp(scale)[..., None])
    seen = jnp.ones(weights.shape[-2:], bool)
    weights = jnp.where(mask[:, None, None, :] & (jnp.tril(seen) if causal else seen)[None, None], weights, 0)
    return jnp.einsum("bhts,bshv->bthv", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("kernel, length, memory_length", [("softmax", 9, 9), ("softmax", 5, 9), ("relu", 9, 5)])
def test_causal_chunks_are_the_quadratic_form(kernel, length, memory_length):
    """Outputs and gradients, where chunks of 4 do not divide the lengths."""
    q, k, v = heads(length), heads(memory_length), heads(memory_length, 3)
    mask = MASK[:, :memory_length]
    weights = jnp.asarray(RNG.normal(size=(2, length, 2, 3)), jnp.float32)

    def value_and_gradients(attend):
        def loss(*qkv):
            outputs = attend(*qkv)
            return (outputs * weights).sum(), outputs

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(q, k, v)

    chunked = value_and_gradients(lambda q, k, v: performer.attend_causally(q, k, v, mask, PROJECTION, kernel, chunk=4))
    whole = value_and_gradients(lambda q, k, v: quadratic_form(q, k, v, mask, True, PROJECTION, kernel))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), chunked, whole)


@pytest.mark.parametrize("kernel", KERNELS)
def test_cross_attention_is_the_quadratic_form(kernel):
    q, k, v = heads(5), heads(9), heads(9, 3)
    outputs = jax.jit(functools.partial(build(kernel=kernel).apply, mask=MASK))(VARIABLES, q, k, v)
    expected = jax.jit(lambda q, k, v: quadratic_form(q, k, v, MASK, False, PROJECTION, kernel))(q, k, v)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_gradient_from_the_future(kernel, random_variables):
    block = Block(2, 16, mixer="performer", mixer_kwargs={"num_features": 8, "kernel": kernel})
    variables = random_variables(block, X)

    @jax.jit
    def gradient(step):
        return jax.grad(lambda x: block.apply(variables, x, causal=True)[:, step].sum())(X)

    for step in range(9):
        reached = np.abs(gradient(step)).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(reached, np.arange(9) <= step)


@pytest.mark.parametrize("chunk", [4, 9])
def test_the_future_changes_no_bit(chunk):
    """Features of the first keys are smaller than those of a zero key by more than float32 can hold."""
    q, k, v = heads(9), heads(9, size=40.0), heads(9)

    @jax.jit
    def attend(k):
        return performer.attend_causally(q, k, v, jnp.ones((2, 9), bool), PROJECTION, "softmax", chunk)

    outputs, changed = attend(k), attend(k.at[:, 6:].set(0))
    assert (np.abs(outputs) > 0).all()
    np.testing.assert_array_equal(changed[:, :6], outputs[:, :6])
    assert not np.allclose(changed[:, 6:], outputs[:, 6:])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_padding_is_invisible(kernel, causal):
    """Whatever it holds, not a number included; before the sequence or after it; and if all is padding."""
    q, k, v = heads(9), heads(9), heads(9)
    apply = jax.jit(functools.partial(build(kernel=kernel).apply, VARIABLES, causal=causal))
    gradient = jax.jit(jax.grad(lambda q, k, v, mask: apply(q, k, v, mask=mask).sum(), argnums=(0, 1, 2)))
    for mask in (MASK, MASK[:, ::-1], MASK & False):
        for garbage in (1e3, np.nan):
            k_garbage, v_garbage = (jnp.where(mask[:, :, None, None], x, garbage) for x in (k, v))
            expected = apply(q, k, v, mask=mask)
            np.testing.assert_array_equal(apply(q, k_garbage, v_garbage, mask=mask), expected)
        reached = gradient(q, k_garbage, v_garbage, mask)
        assert np.isfinite(expected).all() and all(np.isfinite(leaf).all() for leaf in reached)
    cut = apply(q[1:, :5], k[1:, :5], v[1:, :5])
    np.testing.assert_allclose(cut, apply(q, k, v, mask=MASK)[1:, :5], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_great_inputs_stay_finite(causal):
    """Exponents of thousands, and queries opposite to all keys."""
    q, v = heads(9, 4, 50.0), heads(9)
    mix = build()
    loss = jax.jit(jax.value_and_grad(lambda *qkv: mix.apply(VARIABLES, *qkv, causal=causal).sum(), argnums=(0, 1, 2)))
    for k in (heads(9, 4, 50.0), -q):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loss(q, k, v)))


def test_draws_are_no_parameters_and_of_their_own_type():
    q = heads(9).astype(jnp.bfloat16)
    mix = build(param_dtype="bfloat16", dtype="bfloat16")
    variables = jax.eval_shape(mix.init, jax.random.key(0), q, q, q)
    assert jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), variables) == {
        "random": {"projection": ((8, 4), "float32")}
    }


def test_half_precision_computes_features_in_float32():
    q, k, v = (x.astype(jnp.bfloat16) for x in (heads(9), heads(9), heads(9)))
    apply = jax.jit(functools.partial(build().apply, VARIABLES))
    outputs, expected = apply(q, k, v), apply(*(x.astype(jnp.float32) for x in (q, k, v)))
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_array_equal(outputs, expected.astype(jnp.bfloat16))


@pytest.mark.parametrize("scan_layers", [False, True])
def test_redrawn_in_training_every_other_step(scan_layers):
    fields = {"num_features": 8, "redraw_every": 2}
    block = {"num_heads": 2, "mlp_size": 8, "mixer": "performer", "mixer_kwargs": fields}
    stack = Stack(2, block, scan_layers=scan_layers, remat="full")
    variables = jax.jit(stack.init)(jax.random.key(0), X)
    apply = jax.jit(functools.partial(stack.apply, causal=True, mutable=["random"]), static_argnames="train")

    def projections(random):
        leaves = [leaf for leaf in jax.tree.leaves(random) if leaf.dtype == jnp.float32]
        return np.asarray(leaves[0] if scan_layers else leaves)

    random, drawn = variables["random"], [projections(variables["random"])]
    assert not np.allclose(*drawn[0])  # each layer has its own
    for step in range(4):
        given = {**variables, "random": random}
        still = apply(given, X, train=False)[1]["random"]
        jax.tree.map(np.testing.assert_array_equal, still, random)
        random = apply(given, X, train=True, rngs={"random": jax.random.key(step)})[1]["random"]
        drawn.append(projections(random))
    same = [np.array_equal(before, after) for before, after in zip(drawn, drawn[1:], strict=False)]
    assert same == [True, False, True, False] and not np.allclose(*drawn[-1])
    never = Stack(2, {**block, "mixer_kwargs": {"num_features": 8}}, scan_layers=scan_layers)
    assert len(jax.tree.leaves(jax.eval_shape(never.init, jax.random.key(0), X)["random"])) == (1 if scan_layers else 2)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_reaches_every_parameter(kernel, cross, random_variables):
    attention = MultiHeadAttention(2, mixer="performer", mixer_kwargs={"num_features": 8, "kernel": kernel})
    inputs = (X[:, :5], X) if cross else (X,)
    variables = random_variables(attention, *inputs)

    def loss(params):
        return jnp.square(attention.apply({**variables, "params": params}, *inputs, mask=MASK)).sum()

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    assert all(np.abs(gradient).max() > 1e-6 for gradient in jax.tree.leaves(gradients))


def test_stacks_in_half_precision():
    block = {"num_heads": 2, "mlp_size": 8, "mixer": "performer", "mixer_kwargs": {"num_features": 8}}
    stack = Stack(2, block, scan_layers=True)
    variables = jax.jit(stack.init)(jax.random.key(0), X)
    low = Stack(2, {**block, "dtype": "bfloat16"}, scan_layers=True)
    outputs, expected = (
        jax.jit(functools.partial(s.apply, causal=True, mask=MASK))(variables, X) for s in (low, stack)
    )
    np.testing.assert_allclose(outputs.astype(jnp.float32), expected, rtol=5e-2, atol=5e-2)


def test_redrawing_never_is_none():
    with pytest.raises(ValueError, match="mixer performer: redraw_every is 0; allowed: at least 1, or None for never"):
        jax.eval_shape(build(redraw_every=0).init, jax.random.key(0), heads(9), heads(9), heads(9))


@pytest.mark.parametrize("causal, lengths", [(False, [2048, 8192]), (True, [32768, 131072])])
def test_work_and_memory_are_linear(causal, lengths):
    """Of the gradient too; at shorter lengths the weights within a chunk are most of the memory."""
    mix = build(num_features=16)

    def costs(length):
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        variables = jax.eval_shape(mix.init, jax.random.key(0), x, x, x)

        def apply(variables, x):
            return mix.apply(variables, x, x, x, causal=causal).sum()

        gradient = jax.grad(apply, argnums=1)
        memory = jax.jit(gradient).lower(variables, x).compile().memory_analysis().temp_size_in_bytes
        return forward_flops(apply, variables, x), forward_flops(gradient, variables, x), memory

    slopes = np.polyfit(np.log(lengths), np.log([costs(length) for length in lengths]), 1)[0]
    np.testing.assert_allclose(slopes, 1, atol=0.1)
