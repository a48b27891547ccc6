"""LeNet-5 of 1998: sparse connections, trained subsampling and fixed output codes."""

import jax
import numpy as np
from jax import numpy as jnp

import archs
from archs import lenet

CASES = {
    "modern": {"padding": "valid"},
    "1998": {"variant": "1998", "num_classes": 10},
}
INPUTS = {"image": np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)}
COUNTS = [
    ({"variant": "modern", "num_classes": 10}, 61_706),
    ({"variant": "1998", "num_classes": 10}, 60_000),
    (
        {"variant": "1998", "num_classes": 10, "padding": "valid"},
        60_000,
        {"image": jax.ShapeDtypeStruct((32, 32, 1), "float32")},
    ),
]


def test_sparse_layer_connects_as_table_one(random_variables):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 5, 6)), jnp.float32)
    layer = lenet.SparseConv()
    params = random_variables(layer, image)
    jacobian = jax.jacobian(lambda x: layer.apply(params, x)[0, 0, 0])(image)  # [16, 1, 5, 5, 6]
    reads = np.abs(jacobian).max(axis=(1, 2, 3)) > 0
    rows = [  # Table I, one row per map of S2
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    ]
    np.testing.assert_array_equal(reads.T, np.array([list(row) for row in rows]) == "X")


def test_trained_subsampling_starts_as_the_average():
    image = jnp.arange(16.0).reshape(1, 4, 4, 1)
    pooled, variables = lenet.TrainedSubsampling().init_with_output(jax.random.key(0), image)
    np.testing.assert_allclose(pooled[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 2


def test_output_is_minus_the_squared_distance_to_each_digit(random_variables):
    codes = lenet.digit_codes()
    assert set(np.unique(codes)) == {-1.0, 1.0} and len(np.unique(codes, axis=0)) == 10
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 28, 28, 1)), jnp.float32)
    model = archs.build("lenet", variant="1998", num_classes=10)
    variables = random_variables(model, image)
    features = archs.build("lenet", variant="1998", num_classes=None).apply(variables, image)
    expected = -((np.asarray(features)[:, None] - codes[None]) ** 2).sum(-1)
    np.testing.assert_allclose(model.apply(variables, image), expected, rtol=1e-5)
