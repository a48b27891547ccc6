"""AlexNet: response normalisation, maps kept apart by GPU, initialisation, and the sizes of images."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs import alexnet

CASES = {
    "torchvision": {"hidden_sizes": (4, 8, 8, 8, 8), "mlp_size": 16},
    "2012": {"variant": "2012", "hidden_sizes": (4, 8, 8, 8, 8), "mlp_size": 16},
}
INPUTS = {"image": np.random.default_rng(0).normal(size=(2, 63, 63, 3)).astype(np.float32)}
COUNTS = [
    ({"variant": "torchvision", "num_classes": 1000}, 61_100_840),
    ({"variant": "2012", "num_classes": 1000}, 60_965_224),
    ({"variant": "2012", "num_classes": 1000}, 60_965_224, {"image": jax.ShapeDtypeStruct((227, 227, 3), "float32")}),
]


def test_local_response_norm_is_the_equation_of_the_paper():
    x = 100 * np.random.default_rng(0).normal(size=(2, 3, 3, 7))
    expected = np.empty_like(x)
    for i in range(7):
        squares = x[..., max(0, i - 2) : min(6, i + 2) + 1] ** 2
        expected[..., i] = x[..., i] / (2 + 1e-4 * squares.sum(-1)) ** 0.75
    assert np.abs(expected / x - 2**-0.75).max() > 0.01, "nothing was inhibited"
    normalised = alexnet.local_response_norm(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(normalised, expected, rtol=1e-5)


@pytest.mark.parametrize("num_groups", [1, 2])
def test_groups_exchange_maps_at_the_third_convolution_only(num_groups, random_variables):
    """Each kernel of convolutions 2, 4 and 5 reads the maps of its own group."""
    image = jnp.zeros((1, 63, 63, 3))
    model = archs.build("alexnet", num_classes=2, hidden_sizes=(4, 8, 8, 8, 8), mlp_size=8, num_groups=num_groups)
    params = random_variables(model, image)["params"]
    read = [params[f"conv_{number}"]["kernel"].shape[2] for number in range(1, 6)]
    assert read == [3, 4 // num_groups, 8, 8 // num_groups, 8 // num_groups]


def test_initialization_of_2012():
    """Section 5: deviation 0.01; biases 1 in convolutions 2, 4, 5 and the fully connected layers, else 0."""
    model = archs.build("alexnet", variant="2012", num_classes=None, hidden_sizes=(16,) * 5, mlp_size=64)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 63, 63, 3)))["params"]
    biases = {name: np.unique(layer["bias"]).tolist() for name, layer in params.items()}
    lifted = ("conv_2", "conv_4", "conv_5", "dense_6", "dense_7")
    assert biases == {name: [1.0 if name in lifted else 0.0] for name in params}
    for layer in params.values():
        assert np.std(layer["kernel"]) == pytest.approx(0.01, rel=0.1)


def test_published_image_leaves_six_by_six_maps():
    model = archs.build("alexnet", num_classes=None)
    for size, maps in [(63, 1), (224, 6), (227, 6)]:
        shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
        assert shapes["params"]["dense_6"]["kernel"].shape == (maps * maps * 256, 4096)


@pytest.mark.parametrize(
    "fields, size, message",
    [
        ({}, (63, 62), "alexnet: image is 63×62 pixels; allowed: at least 63×63; resize it"),
        ({"hidden_sizes": (4, 4, 4, 4)}, (63, 63), r"alexnet: hidden_sizes is \(4, 4, 4, 4\); give five"),
        (
            {"hidden_sizes": (4, 4, 4, 3, 4), "num_groups": 2},
            (63, 63),
            r"alexnet: hidden_sizes is .*, 3, 4\); give five, each divisible by num_groups=2",
        ),
    ],
)
def test_mistakes_are_named(fields, size, message):
    model = archs.build("alexnet", num_classes=2, **fields)
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *size, 3), jnp.float32))
    assert "\n" not in str(error.value)
