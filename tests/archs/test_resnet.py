"""ResNet: residual blocks, where the stride sits, and what shifts do."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from scipy import ndimage

import archs
from archs import resnet

SMALL = {"stage_sizes": (1, 1), "hidden_sizes": (4, 8), "stage_strides": (1, 2)}
CASES = {
    "basic": {
        **SMALL,
        "block": "basic",
        "stem": "small",
        "padding": "circular",
        "zero_init_residual": True,
        "downsampling": "blur",
    },
    "bottleneck": SMALL,
}
INPUTS = {"image": np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)}
COUNTS = [
    ({"variant": "18", "num_classes": 1000}, 11_689_512),
    ({"variant": "34", "num_classes": 1000}, 21_797_672),
    ({"variant": "50", "num_classes": 1000}, 25_557_032),
    ({"variant": "101", "num_classes": 1000}, 44_549_160),
    ({"variant": "152", "num_classes": 1000}, 60_192_808),
    ({"variant": "50", "num_classes": None}, 23_508_032),
]
IMAGE = jnp.asarray(INPUTS["image"])
KEY = jax.random.key(0)
SPOTS = jnp.zeros_like(IMAGE).at[:, 12:18, 12:18].set(IMAGE[:, 12:18, 12:18])  # a mean over much noise varies little


def features(**fields):
    """A function from an image to the pooled features of a new model."""
    model = archs.build("resnet", **{"num_classes": None, **SMALL, **fields})
    variables = jax.jit(model.init)(jax.random.key(0), IMAGE)
    return jax.jit(lambda image: model.apply(variables, image))


def change(apply, shift) -> float:
    """What a circular shift of the images changes, relative to what tells one image from the other."""
    expected = apply(SPOTS)
    shifted = apply(jnp.roll(SPOTS, shift, axis=(1, 2)))
    return np.abs(shifted - expected).max() / np.abs(expected[0] - expected[1]).max()


@pytest.mark.slow
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_without_strides_on_a_torus_features_ignore_shifts(block):
    apply = features(block=block, stem="small", padding="circular", stage_strides=(1, 1))
    assert max(change(apply, shift) for shift in [(1, 0), (5, 11)]) < 1e-5


@pytest.mark.parametrize(
    "fields, shift",
    [
        ({}, (1, 0)),
        ({}, (8, 16)),
        ({"stem": "small", "padding": "circular"}, (1, 0)),  # the stride is enough
        ({"stem": "small", "stage_strides": (1, 1)}, (8, 16)),  # so is the padding
    ],
)
def test_strides_and_zero_padding_see_shifts(fields, shift):
    assert change(features(**fields), shift) > 1e-3


def test_strides_on_a_torus_ignore_shifts_by_their_product():
    apply = features(padding="circular")  # 2 · 2 in the stem, 2 in the second stage
    assert change(apply, (8, 16)) < 1e-5 < 1e-3 < change(apply, (4, 0))


@pytest.mark.parametrize("padding, mode", [("zero", "constant"), ("circular", "wrap")])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_blur_is_a_binomial_filter_before_places_are_skipped(padding, mode, strides):
    image = np.asarray(IMAGE[0])
    smooth = np.outer((1, 2, 1), (1, 2, 1))[..., None] / 16
    expected = ndimage.convolve(image, smooth, mode=mode)[::strides, ::strides]
    np.testing.assert_allclose(resnet.blur(IMAGE[:1], strides, padding)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_a_blur_costs_no_parameter_and_makes_shifts_matter_less(kind):
    fields = {"block": kind, "stem": "small", "padding": "circular"}
    shapes = {
        way: jax.eval_shape(archs.build("resnet", num_classes=3, **SMALL, **fields, downsampling=way).init, KEY, IMAGE)
        for way in ("stride", "blur")
    }
    assert shapes["stride"] == shapes["blur"]
    assert change(features(**fields, downsampling="blur"), (1, 0)) < 0.7 * change(features(**fields), (1, 0))


def block(kind, strides=1, zero_init_residual=False):
    return resnet.Block(
        kind=kind, hidden_size=4, strides=strides, padding="zero", zero_init_residual=zero_init_residual
    )


def test_strided_bottleneck_reads_every_place(random_variables):
    """Version 1.5: with the stride in the 1×1 convolution, three quarters of the input would go unread."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 8, 16)), jnp.float32)
    layer = block("bottleneck", strides=2)
    variables = random_variables(layer, x)
    read = jax.jit(jax.grad(lambda x: layer.apply(variables, x).sum()))(x)
    assert (np.abs(read).max(axis=(0, 3)) > 0).all()


@pytest.mark.parametrize("kind, channels", [("basic", 4), ("bottleneck", 16)])
@pytest.mark.parametrize("zero_init_residual", [False, True])
def test_blocks_start_as_the_identity_when_asked(zero_init_residual, kind, channels):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, channels)), jnp.float32)
    layer = block(kind, zero_init_residual=zero_init_residual)
    outputs, _ = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    assert np.array_equal(outputs, np.maximum(x, 0)) == zero_init_residual


@pytest.mark.parametrize(
    "variant, projected", [("18", {"stage_1", "stage_2", "stage_3"}), ("50", {f"stage_{n}" for n in range(4)})]
)
def test_shortcuts_project_only_where_shapes_differ(variant, projected):
    model = archs.build("resnet", variant=variant, num_classes=None)
    params = jax.eval_shape(model.init, jax.random.key(0), IMAGE)["params"]
    found = {name for name, block in params.items() if "shortcut" in block}
    assert found == {f"{stage}_block_0" for stage in projected}


def test_kernels_start_with_the_variance_that_keeps_gradients():
    variables = jax.jit(resnet.Convolution(64, (3, 3)).init)(jax.random.key(0), jnp.ones((1, 4, 4, 32)))
    np.testing.assert_allclose(variables["params"]["conv"]["kernel"].std(), (2 / (9 * 64)) ** 0.5, rtol=0.02)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"stage_sizes": (1, 1)}, r"resnet: stage_sizes, hidden_sizes and stage_strides have 2, 4 and 4 entries"),
        ({"stage_strides": ()}, "resnet: .* have 4, 4 and 0 entries; give each of them one entry per stage"),
        ({"stage_sizes": (), "hidden_sizes": (), "stage_strides": ()}, "have 0, 0 and 0 entries; .* at least one"),
        ({"stage_strides": (1, 2, 0, 2)}, r"resnet: stage_strides is \(1, 2, 0, 2\); allowed: at least 1"),
        ({"padding": "none"}, "resnet: padding 'none' is unknown; .*allowed: zero, circular"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(archs.build("resnet", num_classes=3, **fields).init, jax.random.key(0), IMAGE)
    assert "\n" not in str(error.value)
