"""Inception v3: its grids, its auxiliary head and its smallest images. All but one test only trace it."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs import inception

CASES = {"v3-no-aux": {"auxiliary": False}}
SLOW = ("v3-no-aux",)  # compiles for long
INPUTS = {"image": np.random.default_rng(0).normal(size=(2, 75, 75, 3)).astype(np.float32)}
COUNTS = [
    ({"variant": "v3", "num_classes": 1000}, 27_161_264),
    ({"variant": "v3-no-aux", "num_classes": 1000}, 23_834_568),
    ({"variant": "v3-no-aux", "num_classes": None}, 21_785_568),
]


def image(rows: int, columns: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((2, rows, columns, 3), "float32")


def trace(x, *, train, mutable, **fields):
    """Shapes of the variables, and of the outputs and changed collections in training or evaluation."""
    model = archs.build("inception", **{"num_classes": 3, **fields})
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    apply = lambda v, x: model.apply(v, x, train=train, mutable=mutable, rngs={"dropout": jax.random.key(1)})  # noqa: E731
    return variables, *jax.eval_shape(apply, variables, x)


def test_grids_are_those_of_table_one():
    model = archs.build("inception", num_classes=3, auxiliary=False)
    initialise = lambda x: model.init(jax.random.key(0), x, capture_intermediates=True, mutable=True)  # noqa: E731
    seen = jax.eval_shape(initialise, image(299, 299))["intermediates"]
    grid = lambda name: seen[name]["__call__"][0].shape[1:]  # noqa: E731
    assert [grid(f"stem_{n}") for n in (0, 1, 2)] == [(149, 149, 32), (147, 147, 32), (147, 147, 64)]
    assert [grid(f"stem_{n}") for n in (3, 4)] == [(73, 73, 80), (71, 71, 192)]
    assert [grid(f"block_{n}") for n in (0, 1, 2)] == [(35, 35, 256), (35, 35, 288), (35, 35, 288)]
    assert {grid(f"block_{n}") for n in (3, 4, 5, 6, 7)} == {(17, 17, 768)}
    assert [grid(f"block_{n}") for n in (8, 9, 10)] == [(8, 8, 1280), (8, 8, 2048), (8, 8, 2048)]


@pytest.mark.parametrize("shape", [(299, 299), (331, 320)])
def test_auxiliary_logits_go_out_in_training(shape):
    fields = {"train": True, "mutable": ["batch_stats", "auxiliary"], "dtype": "bfloat16"}
    variables, logits, changed = trace(image(*shape), **fields)
    assert set(variables) == {"params", "batch_stats"} and "auxiliary_head" in variables["params"]
    (auxiliary,) = changed["auxiliary"]["logits"]
    assert auxiliary.shape == logits.shape == (2, 3) and auxiliary.dtype == logits.dtype == jnp.float32
    assert jax.tree.structure(changed["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


def test_auxiliary_head_is_not_computed_in_evaluation():
    variables, _, changed = trace(image(299, 299), train=False, mutable=["auxiliary"])
    assert not changed
    programs = {
        str(
            jax.make_jaxpr(archs.build("inception", num_classes=3, auxiliary=auxiliary).apply)(
                variables, image(299, 299)
            )
        )
        for auxiliary in (True, False)
    }
    assert len(programs) == 1


def test_average_counts_the_zeros_around_the_image():
    x = jnp.ones((1, 3, 3, 1))
    layer = inception.Block(branches=(), pool_features=1)
    variables = layer.init(jax.random.key(0), x)
    variables["params"]["pool"]["conv"]["kernel"] = jnp.ones((1, 1, 1, 1))
    average = layer.apply(variables, x)[0, :, :, 0]
    np.testing.assert_allclose(average / average[1, 1] * 9, [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-5)


@pytest.mark.parametrize(
    "fields, shape, message",
    [
        (
            {"auxiliary": False},
            (74, 80),
            "inception: image is 74×80 pixels; auxiliary=False needs at least 75×75: resize",
        ),
        (
            {},
            (299, 298),
            "inception: image is 299×298 pixels; auxiliary=True needs at least 299×299: .* auxiliary=False",
        ),
        ({"num_classes": None}, (299, 299), "inception: num_classes is None, so the auxiliary head .* auxiliary=False"),
    ],
)
def test_mistakes_are_named(fields, shape, message):
    with pytest.raises(ValueError, match=message) as error:
        trace(image(*shape), train=False, mutable=[], **fields)
    assert "\n" not in str(error.value)
