"""Synthesizer: scores of each kind, mixtures, and what they read."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers import mixers
from archs.layers.attention import MultiHeadAttention
from archs.layers.stack import Stack
from train.flops import forward_flops

RNG = np.random.default_rng(0)
KINDS = ("dense", "random", "fixed_random", "factorized_dense", "factorized_random")
OWN = {"factorized_dense": {"factors": (2, 3)}, "factorized_random": {"rank": 2}}
CASES = [(kind, mixture) for kind in KINDS for mixture in (False, True)]
MASK = jnp.asarray(np.arange(5)[None] < np.array([[5], [3]]))
X = jnp.asarray(RNG.normal(size=(2, 5, 8)), jnp.float32)


def fields_of(kind, mixture=False, **fields):
    return {"max_length": 6, "kind": kind, "mixture": mixture, **OWN.get(kind, {}), **fields}


def build(kind, mixture=False, **fields):
    return mixers.build("synthesizer", fields_of(kind, mixture, **fields))


def heads(length: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=(2, length, 2, 4)), jnp.float32)


Q, K, V = heads(5), heads(5), heads(5)


def reference_scores(kind, variables, q):
    """S [B, H, T, T], head by head as in the paper."""
    params = {name: np.asarray(leaf) for name, leaf in variables.get("params", {}).items()}
    if kind == "random":
        scores = params["kernel"][None]
    elif kind == "fixed_random":
        scores = np.asarray(variables["random"]["scores"])[None]
    elif kind == "factorized_random":
        scores = (params["first_kernel"] @ params["second_kernel"].swapaxes(1, 2))[None]
    else:
        inner = np.maximum(np.asarray(q), 0).swapaxes(1, 2)  # [B, H, T, K]

        def outer(name):
            return inner @ params[f"{name}kernel"] + params[f"{name}bias"][:, None]

        if kind == "dense":
            scores = outer("")
        else:
            scores = np.repeat(outer("first_"), 3, axis=-1) * np.tile(outer("second_"), 2)
    return np.broadcast_to(scores[:, :, :5, :5], (2, 2, 5, 5))


@pytest.mark.parametrize("kind, mixture", CASES)
def test_scores_are_those_of_the_paper(kind, mixture, random_variables):
    causal = mixture == (kind in ("dense", "random"))
    mix = build(kind, mixture)
    variables = random_variables(mix, Q, K, V)
    scores = reference_scores(kind, variables, Q)
    if mixture:
        logits = np.asarray(variables["params"]["mixture_logits"])
        alpha = np.exp(logits) / np.exp(logits).sum()
        scores = alpha[0] * scores + alpha[1] * np.einsum("bthk,bshk->bhts", Q, K) / 2
    visible = np.asarray(MASK)[:, None, None, :] & (np.tril(np.ones((5, 5), bool)) if causal else True)
    weights = np.exp(scores) * visible
    weights /= weights.sum(-1, keepdims=True)
    apply = jax.jit(functools.partial(mix.apply, mask=MASK, causal=causal, mutable=["intermediates"]))
    outputs, sown = apply(variables, Q, K, V)
    np.testing.assert_allclose(sown["intermediates"]["weights"][0], weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(outputs, np.einsum("bhts,bshv->bthv", weights, V), rtol=1e-4, atol=1e-5)


def log_weights(mix, variables, length):
    """S, but for a constant in each row."""
    x = jnp.zeros((1, length, 2, 4))
    sown = mix.apply(variables, x, x, x, mutable=["intermediates"])[1]["intermediates"]
    return np.log(sown["weights"][0])


def test_factors_give_each_place_its_own_pair():
    """A = (1, 4) and B = (1, 2, 3) have six different products."""
    mix = build("factorized_dense")
    variables = jax.eval_shape(mix.init, jax.random.key(0), Q, None, V)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables["params"])
    params |= {"first_bias": jnp.array([[1.0, 4]] * 2), "second_bias": jnp.array([[1.0, 2, 3]] * 2)}
    scores = log_weights(mix, {"params": params}, 6)[0, 0, 0]
    np.testing.assert_allclose(scores - scores[0] + 1, [1, 2, 3, 4, 8, 12], rtol=1e-5)


def test_a_mixture_of_dot_products_alone_is_dense_attention(random_variables):
    mix = build("random", mixture=True)
    variables = random_variables(mix, Q, K, V)
    variables["params"]["mixture_logits"] = jnp.array([-1e4, 0])
    outputs = mix.apply(variables, Q, K, V, mask=MASK, causal=True)
    expected = mixers.build("dense", {}).apply({}, Q, K, V, mask=MASK, causal=True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_a_new_mixture_is_even():
    variables = build("random", mixture=True).init(jax.random.key(0), Q, K, V)
    np.testing.assert_array_equal(variables["params"]["mixture_logits"], [0, 0])


@pytest.mark.parametrize("kind", ["random", "fixed_random", "factorized_random"])
def test_scores_start_with_unit_variance(kind):
    mix = mixers.build("synthesizer", {"max_length": 64, "kind": kind})
    variables = mix.init(jax.random.key(0), None, None, heads(5))
    np.testing.assert_allclose(log_weights(mix, variables, 64).std(-1).mean(), 1, rtol=0.1)


@pytest.mark.parametrize("kind, mixture", CASES)
def test_only_what_is_read_is_projected(kind, mixture, random_variables):
    attention = MultiHeadAttention(2, mixer="synthesizer", mixer_kwargs=fields_of(kind, mixture))
    variables = random_variables(attention, X)
    dense_kind = kind.endswith("dense")
    read = {"query"} if dense_kind and not mixture else {"query", "key"} if mixture else set()
    assert set(variables["params"]) - {"mixer"} == {"value", "output"} | read
    assert ("random" in variables) == (kind == "fixed_random")
    gradients = jax.jit(
        jax.grad(lambda p: jnp.square(attention.apply({**variables, "params": p}, X[:, :4], causal=True)).sum())
    )(variables["params"])
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        if name != "['key']['bias']":  # adds the same to all scores of a query, so softmax ignores it
            assert np.abs(gradient).max() > 1e-6, name


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_invisible(kind, random_variables):
    mix = build(kind, mixture=True)
    variables = random_variables(mix, Q, K, V)
    apply = jax.jit(functools.partial(mix.apply, mask=MASK))
    expected = apply(variables, Q, K, V)
    for garbage in (1e3, np.nan):
        k, v = (jnp.where(MASK[:, :, None, None], x, garbage) for x in (K, V))
        np.testing.assert_array_equal(apply(variables, Q, k, v), expected)
        gradients = jax.jit(jax.grad(lambda *qkv: apply(variables, *qkv).sum(), argnums=(0, 1, 2)))(Q, k, v)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_from_the_future(kind, random_variables):
    attention = MultiHeadAttention(2, mixer="synthesizer", mixer_kwargs=fields_of(kind, mixture=True))
    variables = random_variables(attention, X)

    @jax.jit
    def gradient(step):
        return jax.grad(lambda x: attention.apply(variables, x, causal=True)[:, step].sum())(X)

    for step in range(5):
        reached = np.abs(gradient(step)).max(axis=(0, 2)) > 0
        np.testing.assert_array_equal(reached, np.arange(5) <= step)


@pytest.mark.parametrize("kind", ["dense", "fixed_random"])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_stacks(kind, scan_layers):
    block = {"num_heads": 2, "mlp_size": 8, "mixer": "synthesizer", "mixer_kwargs": fields_of(kind)}
    stack = Stack(2, block, scan_layers=scan_layers, remat="full")
    variables = jax.jit(stack.init)(jax.random.key(0), X)
    if kind == "fixed_random":
        random = jax.tree.leaves(variables["random"])
        layers = random[0] if scan_layers else random
        assert len(layers) == 2 and not np.allclose(layers[0], layers[1])
    expected = jax.jit(functools.partial(stack.apply, mask=MASK))(variables, X)
    low = Stack(2, {**block, "dtype": "bfloat16"}, scan_layers=scan_layers)
    outputs = jax.jit(functools.partial(low.apply, mask=MASK))(variables, X)
    np.testing.assert_allclose(outputs.astype(jnp.float32), expected, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"max_length": 4}, "the input has 5 tokens, and max_length is 4; shorten the input or raise max_length"),
        ({"max_length": 6, "factors": (2, 3)}, "kind='dense' has no factors; leave them out"),
        ({"max_length": 6, "rank": 2}, "kind='dense' has no rank; leave it out"),
        ({"max_length": 6, "kind": "factorized_dense"}, "factors is None; .* needs two with product max_length=6"),
        ({"max_length": 6, "kind": "factorized_dense", "factors": (2, 2)}, r"factors is \(2, 2\); .* max_length=6"),
        ({"max_length": 6, "kind": "factorized_random", "rank": 0}, "rank is 0; allowed: at least 1, or None for 8"),
    ],
)
def test_mistakes_are_named(fields, message):
    mix = mixers.build("synthesizer", fields)
    with pytest.raises(ValueError, match=f"mixer synthesizer: {message}") as error:
        jax.eval_shape(mix.init, jax.random.key(0), Q, K, V)
    assert "\n" not in str(error.value)


def test_cross_attention_is_refused():
    attention = MultiHeadAttention(2, mixer="synthesizer", mixer_kwargs={"max_length": 6})
    with pytest.raises(ValueError, match="mixer synthesizer: cannot honour 'cross'"):
        jax.eval_shape(attention.init, jax.random.key(0), X, X)


@pytest.mark.parametrize("kind", KINDS)
def test_work_and_memory_are_quadratic(kind):
    def costs(length):
        fields = {"max_length": length, "kind": kind}
        if kind == "factorized_dense":
            fields["factors"] = (16, length // 16)
        mix = mixers.build("synthesizer", fields)
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        variables = jax.eval_shape(mix.init, jax.random.key(0), x, x, x)
        forward = jax.jit(lambda variables, x: jnp.square(mix.apply(variables, x, x, x)).sum())
        memory = jax.jit(jax.grad(forward, argnums=1)).lower(variables, x).compile().memory_analysis()
        return forward_flops(mix.apply, variables, x, x, x), memory.temp_size_in_bytes

    lengths = [256, 1024]
    slopes = np.polyfit(np.log(lengths), np.log([costs(length) for length in lengths]), 1)[0]
    np.testing.assert_allclose(slopes, 2, atol=0.15)
