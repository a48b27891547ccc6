"""VGG: the columns of Table 1, where the parameters are, and the sizes of images."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs

CASES = {
    "plain": {"stage_sizes": (1, 2), "hidden_sizes": (4, 8), "mlp_size": 16},
    "batch": {"stage_sizes": (1, 2), "hidden_sizes": (4, 8), "mlp_size": 16, "normalization": "batch"},
}
INPUTS = {"image": np.random.default_rng(0).normal(size=(2, 10, 8, 3)).astype(np.float32)}
COUNTS = [
    ({"variant": "11", "num_classes": 1000}, 132_863_336),
    ({"variant": "13", "num_classes": 1000}, 133_047_848),
    ({"variant": "16", "num_classes": 1000}, 138_357_544),
    ({"variant": "19", "num_classes": 1000}, 143_667_240),
    ({"variant": "11", "num_classes": 1000, "normalization": "batch"}, 132_868_840),
    ({"variant": "16", "num_classes": 1000, "normalization": "batch"}, 138_365_992),
]


def shapes(image_size=224, **fields):
    model = archs.build("vgg", **{"num_classes": 1000, **fields})
    return jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    )["params"]


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("variant", ["11", "13", "16", "19"])
def test_variants_are_named_by_layers_with_weights(variant):
    assert len(shapes(variant=variant)) == int(variant)


def test_nine_tenths_of_the_parameters_are_fully_connected():
    params = shapes(variant="16")
    convolutions = {name: layer for name, layer in params.items() if name.startswith("conv")}
    assert count(convolutions) == 14_714_688
    assert count(params) - count(convolutions) == 123_642_856


@pytest.mark.parametrize("image_size, maps", [(32, 1), (63, 1), (224, 7)])
def test_fully_connected_layers_read_what_pooling_leaves(image_size, maps):
    assert shapes(image_size)["dense_0"]["kernel"].shape == (maps * maps * 512, 4096)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"variant": "16"}, "vgg: image is 31×40 pixels; 5 stages need at least 32×32; resize it"),
        ({"stage_sizes": (1, 1)}, r"vgg: stage_sizes is \(1, 1\) and hidden_sizes is \(64, .*; give one of each"),
    ],
)
def test_mistakes_are_named(fields, message):
    model = archs.build("vgg", num_classes=2, **fields)
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 31, 40, 3), jnp.float32))
    assert "\n" not in str(error.value)
