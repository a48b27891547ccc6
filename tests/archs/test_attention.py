"""Attention, its dense mixer, the Transformer block and positions."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from archs.layers import chunked_attention, mixers
from archs.layers.attention import MultiHeadAttention
from archs.layers.block import Block
from archs.layers.mixers import dense
from archs.layers.positions import Positions, sinusoids
from archs.layers.stack import Stack, stack_layers, unstack_layers

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(2, 5, 8)), jnp.float32)
MEMORY = jnp.asarray(RNG.normal(size=(2, 7, 12)), jnp.float32)
MEMORY_MASK = jnp.asarray(np.arange(7)[None] < np.array([[7], [3]]))
MASK = jnp.asarray(np.arange(5)[None] < np.array([[5], [3]]))


def heads(length: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=(2, length, 2, 4)), jnp.float32)


def build(mixer, **fields):
    return mixers.build(mixer, fields)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_dense_paths_agree_with_the_formula(causal, masked):
    q, k, v = heads(5), heads(5), heads(5)
    mask = MASK if masked else None
    mix = functools.partial(build("dense").apply, {}, mask=mask, causal=causal)
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


@pytest.mark.parametrize("causal, length, memory_length", [(False, 10, 7), (True, 9, 9), (False, 4, 12)])
@pytest.mark.parametrize("masked", [False, True])
def test_chunks_change_nothing(causal, length, memory_length, masked):
    """Outputs and gradients, where chunks of 4 do not divide the lengths."""
    q, k, v = heads(length), heads(memory_length), heads(memory_length)[..., :3]
    lengths = np.array([[memory_length], [3]])
    mask = jnp.asarray(np.arange(memory_length)[None] < lengths) if masked else None
    weights = jnp.asarray(RNG.normal(size=(2, length, 2, 3)), jnp.float32)

    def chunked(q, k, v):
        return chunked_attention.attend(q, k, v, mask=mask, causal=causal, chunk=4)

    def plain(q, k, v):
        return dense.plain(q, k, v, dense.visible_keys(length, memory_length, mask, causal))

    def value_and_gradients(attend):
        return jax.jit(jax.value_and_grad(lambda *qkv: (attend(*qkv) * weights).sum(), argnums=(0, 1, 2)))(q, k, v)

    np.testing.assert_allclose(jax.jit(chunked)(q, k, v), jax.jit(plain)(q, k, v), rtol=1e-5, atol=1e-6)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, value_and_gradients(chunked), value_and_gradients(plain))


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 2e-2), ("float64", 1e-12)])
def test_chunks_keep_the_type(dtype, tolerance):
    """And as much of its precision, in outputs and gradients."""
    with jax.enable_x64(True):
        q, k, v, weights = (jnp.asarray(RNG.normal(size=(2, 9, 2, 4))) for _ in range(4))

        def value_and_gradients(attend, *qkv):
            def loss(*qkv):
                outputs = attend(*qkv)
                return (outputs * weights).sum(), outputs

            return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*qkv)

        def chunked(q, k, v):
            return chunked_attention.attend(q, k, v, mask=None, causal=True, chunk=4)

        actual = value_and_gradients(chunked, *(x.astype(dtype) for x in (q, k, v)))
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(actual)} == {dtype}
        visible = dense.visible_keys(9, 9, None, causal=True)
        expected = value_and_gradients(lambda *qkv: dense.plain(*qkv, visible), q, k, v)
        close = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
        jax.tree.map(lambda a, b: close(a.astype("float64"), b), actual, expected)


def temporary_bytes(kernel, length):
    """XLA's plan for the gradient of attention to itself."""
    x = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)
    mix = build("dense", kernel=kernel)
    gradient = jax.grad(lambda x: mix.apply({}, x, x, x, causal=True).sum())
    return jax.jit(gradient).lower(x).compile().memory_analysis().temp_size_in_bytes


def test_chunked_memory_is_linear_and_plain_memory_is_not():
    memory = {k: [temporary_bytes(k, length) for length in (1024, 4096)] for k in ("chunked", "plain")}
    slopes = {k: np.log2(longer / shorter) / 2 for k, (shorter, longer) in memory.items()}
    assert slopes["chunked"] < 1.1 and slopes["plain"] > 1.5
    assert temporary_bytes("auto", 4096) == memory["chunked"][1] < memory["plain"][1] / 10
    assert temporary_bytes("auto", 1024) == memory["plain"][0]


def test_dense_dropout_is_of_the_weights_in_training():
    q, k, v = heads(5), heads(7), jnp.ones((2, 7, 2, 4))
    mix = build("dense", dropout_rate=0.5)
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
    table = sinusoids(jnp.arange(50), 8)
    for position in (0, 3, 49):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 8)
            np.testing.assert_allclose(table[position, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-5)


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_places_choose_positions(kind, random_variables):
    positions = Positions(kind, max_length=9)
    params = random_variables(positions, X)
    longer = jnp.zeros((2, 9, 8))
    places = jnp.asarray([[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]])
    expected = jnp.take_along_axis(positions.apply(params, longer), places[:, :, None], axis=1)
    np.testing.assert_allclose(positions.apply(params, 0 * X, places), expected, atol=1e-6)


def test_learned_positions_have_a_length(random_variables):
    positions = Positions("learned", max_length=6)
    params = random_variables(positions, X)
    assert jax.tree.map(jnp.shape, params["params"]) == {"embedding": (6, 8)}
    np.testing.assert_allclose(
        positions.apply(params, X) - X, np.broadcast_to(params["params"]["embedding"][:5], X.shape), atol=1e-6
    )
    with pytest.raises(ValueError, match="positions: the input has 7 tokens, and max_length is 6"):
        positions.init(jax.random.key(0), MEMORY)


@pytest.mark.parametrize("size, use_bias, expected", [(None, True, 4 * 512**2 + 4 * 512), (16, False, 655_360)])
def test_width_of_keys_and_biases(size, use_bias, expected):
    """Vaswani et al., 2017, Table 3, row B: d_k = 16 with values of 64."""
    attention = MultiHeadAttention(num_heads=8, key_size=size, use_bias=use_bias)
    x = jax.ShapeDtypeStruct((1, 4, 512), jnp.float32)
    params = jax.eval_shape(attention.init, jax.random.key(0), x)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


FIELDS = {"num_heads": 2, "mlp_size": 16, "cross": True}


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("remat", ["full", "products"])
def test_scanned_and_looped_stacks_agree(norm, remat, random_variables):
    fields = {**FIELDS, "norm": norm}
    looped, scanned = Stack(3, fields), Stack(3, fields, scan_layers=True, remat=remat)
    params = random_variables(looped, X, MEMORY)["params"]
    stacked = stack_layers(params)
    jax.tree.map(np.testing.assert_array_equal, unstack_layers(stacked), params)

    def loss(stack, params):
        y = stack.apply({"params": params}, X, MEMORY, mask=MASK, memory_mask=MEMORY_MASK, causal=True)
        return (y * jnp.linspace(-1, 1, y.size).reshape(y.shape)).sum()

    one, gradient = jax.jit(jax.value_and_grad(functools.partial(loss, looped)))(params)
    other, stacked_gradient = jax.jit(jax.value_and_grad(functools.partial(loss, scanned)))(stacked)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, unstack_layers(stacked_gradient), gradient)


def test_scanned_layers_drop_out_differently(random_variables):
    """A block whose branches are all dropped but for chance: equal masks would give equal sums."""
    stack = Stack(2, {**FIELDS, "cross": False, "dropout_rate": 0.5}, scan_layers=True)
    params = random_variables(stack, X)
    apply = jax.jit(lambda key: stack.apply(params, X, train=True, rngs={"dropout": key}))
    assert not np.allclose(apply(jax.random.key(0)), apply(jax.random.key(1)))
    assert not np.allclose(apply(jax.random.key(0)), stack.apply(params, X))


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("parts", [(1, 1, 1, 1, 1), (3, 2)])
def test_cached_equals_uncached(scan_layers, parts, random_variables):
    """Token by token, or a few at once, with padding among them and another sequence to attend to."""
    stack = Stack(2, FIELDS, scan_layers=scan_layers)
    params = random_variables(stack, X, MEMORY)
    expected = jax.jit(functools.partial(stack.apply, causal=True))(
        params, X, MEMORY, mask=MASK[:, ::-1], memory_mask=MEMORY_MASK
    )
    cache = jax.eval_shape(lambda: stack.init(jax.random.key(0), X, MEMORY, decode=True))["cache"]
    cache = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), cache)
    apply = jax.jit(functools.partial(stack.apply, decode=True, mutable=["cache"]))
    start = 0
    for part in parts:
        now = slice(start, start + part)
        memory = {"memory": MEMORY, "memory_mask": MEMORY_MASK} if start == 0 else {}
        outputs, changed = apply({**params, "cache": cache}, X[:, now], mask=MASK[:, ::-1][:, now], **memory)
        real = np.asarray(MASK[:, ::-1][:, now])  # where all is padding so far, outputs mean nothing
        np.testing.assert_allclose(outputs[real], expected[:, now][real], rtol=1e-4, atol=1e-5)
        cache, start = changed["cache"], start + part


@pytest.mark.parametrize("what", ["mask", "causal", "cross", "cache"])
def test_a_mixer_that_cannot_is_refused(what, monkeypatch):
    monkeypatch.setattr(dense.Mixer, "honours", frozenset({"mask", "causal", "cross", "cache"}) - {what})
    given = {"mask": {"mask": MASK}, "causal": {"causal": True}, "cross": {"memory": MEMORY}, "cache": {"decode": True}}
    with pytest.raises(ValueError, match=f"mixer dense: cannot honour '{what}'; mixers that can: "):
        jax.eval_shape(functools.partial(MultiHeadAttention(num_heads=2).init, **given[what]), jax.random.key(0), X)


def test_kernels_start_with_the_deviations_asked_for():
    block = Block(num_heads=4, mlp_size=256, init_std=0.02, output_init_std=0.01)
    params = jax.jit(block.init)(jax.random.key(0), jnp.zeros((1, 2, 128)))["params"]
    deviations = {f"{a}/{b}": float(np.std(w["kernel"])) for a in ("attention", "mlp") for b, w in params[a].items()}
    expected = {name: 0.01 if name in ("attention/output", "mlp/outer") else 0.02 for name in deviations}
    assert len(expected) == 6 and deviations == pytest.approx(expected, rel=0.05)


def test_the_perceptron_may_start_with_deviations_of_its_own():
    fields = {"init_std": 0.02, "output_init_std": 0.01, "mlp_init_std": 0.03, "mlp_output_init_std": 0.04}
    block = Block(num_heads=4, mlp_size=256, **fields)
    params = jax.jit(block.init)(jax.random.key(0), jnp.zeros((1, 2, 128)))["params"]
    kernels = [("attention", "query"), ("attention", "output"), ("mlp", "inner"), ("mlp", "outer")]
    found = [float(np.std(params[part][name]["kernel"])) for part, name in kernels]
    assert found == pytest.approx(list(fields.values()), rel=0.05)


def test_a_scanned_stack_is_compiled_as_one_block():
    """The program does not grow with depth; a looped one does."""

    def size(num_layers, scan_layers):
        stack = Stack(num_layers, FIELDS, scan_layers=scan_layers)
        params = jax.eval_shape(stack.init, jax.random.key(0), X, MEMORY)
        gradient = jax.grad(lambda params: stack.apply(params, X, MEMORY).sum())
        return len(jax.jit(gradient).lower(params).as_text())

    assert size(12, True) < 1.05 * size(3, True) and size(12, False) > 3 * size(3, False)
