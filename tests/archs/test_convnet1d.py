"""One-dimensional convolutional networks: masks, the lengths of Table 1, and residual blocks."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs import convnet1d

CASES = {
    "plain": {"hidden_sizes": (8, 8), "stage_sizes": (1, 2), "kernel_size": 4, "normalization": "none", "pool": "max"},
    "batch": {"hidden_sizes": (8,), "stage_sizes": (2,)},
    "M-net": {"variant": "M3", "hidden_sizes": (8, 8), "stage_sizes": (1, 2)},
    "residual": {"variant": "M34-res", "hidden_sizes": (8, 16), "stage_sizes": (1, 2)},
    "tokens": {"variant": "kim", "vocab_size": 10, "embedding_size": 6, "hidden_sizes": (8,), "dropout_rate": 0.0},
}
INPUTS = {
    "sequence": np.random.default_rng(0).normal(size=(2, 70, 3)).astype(np.float32),
    "mask": np.arange(70)[None] < np.array([[70], [33]]),
}
TOKENS = np.random.default_rng(1).integers(10, size=(2, 70)).astype(np.int32)
OTHER_INPUTS = {"tokens": {"tokens": TOKENS, "mask": INPUTS["mask"]}}
COUNTS = [
    (
        {"variant": "kim", "vocab_size": 20_000, "num_classes": 2},
        20_000 * 300 + 360_300 + 602,
        {"tokens": jax.ShapeDtypeStruct((50,), "int32")},
    ),
    ({"variant": "M3", "num_classes": 10}, 221_194),
    ({"variant": "M5", "num_classes": 10}, 559_114),
    ({"variant": "M11", "num_classes": 10}, 1_786_442),
    ({"variant": "M18", "num_classes": 10}, 3_683_786),
    ({"variant": "M34-res", "num_classes": 10}, 3_984_154),
]

SEQUENCE = jnp.asarray(np.random.default_rng(0).normal(size=(3, 150, 2)), jnp.float32)


RESIDUAL = {"pool": "max", "residual": True, "kernel_size": 4}


@pytest.mark.parametrize(
    "fields, before, train",
    [
        ({"normalization": "none"}, 5, False),
        (RESIDUAL, 5, False),
        (RESIDUAL, 5, True),
        ({"downsampling": "waveform", "residual": True}, 0, True),
    ],
    ids=["plain", "evaluation", "training", "waveform"],
)
def test_padding_changes_nothing(fields, before, train, random_variables):
    """Outputs, gradients and batch statistics are those of the cut sequence, even if the padding is NaN.

    In float64, since statistics of a few steps blow rounding up.
    """
    with jax.enable_x64(True):
        model = archs.build(
            "convnet1d",
            **{"num_classes": 4, "hidden_sizes": (4, 8), "stage_sizes": (1, 1), **fields},
            dtype="float64",
            param_dtype="float64",
        )
        cut = jnp.asarray(SEQUENCE[:, :101], jnp.float64)
        variables = random_variables(model, cut)
        padded = jnp.pad(cut, ((0, 0), (before, 49 - before), (0, 0)), constant_values=jnp.nan)
        mask = jnp.broadcast_to((jnp.arange(150) >= before) & (jnp.arange(150) < before + 101), (3, 150))
        weights = np.random.default_rng(1).normal(size=(3, 4))

        def loss(params, sequence, mask):
            apply = functools.partial(model.apply, train=train, mutable=["batch_stats"])
            y, statistics = apply({**variables, "params": params}, sequence, mask)
            return jnp.sum(y * weights), (y, statistics)

        value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        (_, expected), (expected_gradient, expected_input_gradient) = value_and_grad(variables["params"], cut, None)
        (_, actual), (gradient, input_gradient) = value_and_grad(variables["params"], padded, mask)

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)

    jax.tree.map(close, (actual, gradient), (expected, expected_gradient))
    close(input_gradient[:, before : before + 101], expected_input_gradient)
    np.testing.assert_array_equal(np.asarray(input_gradient)[~np.asarray(mask)], 0)


@pytest.mark.parametrize("fields", [{}, {"variant": "M3", "hidden_sizes": (128,)}], ids=["plain", "waveform"])
def test_rows_of_different_lengths_read_as_alone(fields, random_variables):
    model = archs.build("convnet1d", num_classes=4, **fields)
    variables = random_variables(model, SEQUENCE)
    lengths = (150, 76, 1)
    apply = jax.jit(model.apply)
    together = apply(variables, SEQUENCE, jnp.arange(150)[None] < jnp.array(lengths)[:, None])
    for row, length in enumerate(lengths):
        alone = apply(variables, SEQUENCE[row : row + 1, :length])
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "variant, convolutions, length",
    [("M3", 2, 500), ("M5", 4, 32), ("M11", 10, 32), ("M18", 17, 32), ("M34-res", 33, 32)],
)
def test_table_one(variant, convolutions, length):
    """A network is named by its convolutions and the output layer; global pooling reads `length` steps."""
    model = archs.build("convnet1d", variant=variant, num_classes=10)
    waveform = jax.ShapeDtypeStruct((1, 32000, 1), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), waveform)["params"]
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 3]
    assert len(kernels) == convolutions == int(variant[1:].split("-")[0]) - 1
    jaxpr = jax.make_jaxpr(model.apply)(jax.eval_shape(model.init, jax.random.key(0), waveform), waveform).jaxpr
    pooled = [e.outvars[0].aval.shape[1] for e in jaxpr.eqns if e.primitive.name == "reduce_window_max"]
    assert pooled == [2000, 500, 125, 32][: len(pooled)] and pooled[-1] == length


def test_residual_block_adds_copies_of_its_input(random_variables):
    block = convnet1d.ResidualBlock(features=6, kernel_size=3, normalization="none")
    params = random_variables(block, SEQUENCE, None)
    silent = jax.tree.map(jnp.zeros_like, params)
    expected = np.maximum(np.concatenate([SEQUENCE] * 3, axis=-1), 0)
    np.testing.assert_array_equal(block.apply(silent, SEQUENCE, None), expected)


def test_several_kernel_sizes_are_convolutions_side_by_side(random_variables):
    fields = {"num_classes": None, "hidden_sizes": (4,), "stage_sizes": (1,), "normalization": "none", "pool": "max"}
    joined = archs.build("convnet1d", kernel_size=(2, 5), **fields)
    variables = random_variables(joined, SEQUENCE)
    parts = [
        archs.build("convnet1d", kernel_size=size, **fields).apply(
            {"params": {"stage_0_0": variables["params"][f"stage_0_0_{size}"]}}, SEQUENCE
        )
        for size in (2, 5)
    ]
    np.testing.assert_allclose(joined.apply(variables, SEQUENCE), np.concatenate(parts, axis=-1), rtol=1e-6)


def test_size_does_not_depend_on_length():
    model = archs.build("convnet1d", variant="M3", num_classes=2)
    one, other = (
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, length, 1), jnp.float32))
        for length in (1, 32000)
    )
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)


@pytest.mark.parametrize(
    "fields, message",
    [
        (
            {"stage_sizes": (1, 1)},
            r"convnet1d: stage_sizes is \(1, 1\) and hidden_sizes is \(128, .*; give one of each",
        ),
        (
            {"residual": True, "hidden_sizes": (4, 4, 6)},
            "convnet1d: residual=True cannot widen 4 channels to 6; choose hidden_sizes that are multiples",
        ),
        ({"residual": True, "kernel_size": (3, 5)}, r"kernel_size is \(3, 5\), and residual=True takes a single one"),
        ({"kernel_size": (3, 3)}, r"convnet1d: kernel_size is \(3, 3\); give at least one, and each once"),
    ],
)
def test_mistakes_are_named(fields, message):
    model = archs.build("convnet1d", num_classes=2, **fields)
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 2), jnp.float32))
    assert "\n" not in str(error.value)
