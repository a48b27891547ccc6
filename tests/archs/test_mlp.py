"""Multilayer perceptron: the arithmetic of one layer, and which statistics batch normalisation uses when."""

import jax
import numpy as np
from jax import numpy as jnp

import archs

CASES = {
    "layer": {"hidden_sizes": (8, 8), "normalization": "layer"},
    "batch": {"hidden_sizes": (8,), "normalization": "batch", "activation": "tanh"},
}
INPUTS = {"features": np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)}
IMAGE = {"features": jax.ShapeDtypeStruct((224 * 224 * 3,), "float32")}
COUNTS = [
    ({"hidden_sizes": (1000,), "num_classes": None}, 150_528_000 + 1_000, IMAGE),
    ({"hidden_sizes": (), "num_classes": 1000}, 150_528_000 + 1_000, IMAGE),
]


def test_a_layer_is_the_formula(random_variables):
    model = archs.build("mlp", num_classes=2, hidden_sizes=(5,), activation="tanh")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
    params = random_variables(model, x)["params"]
    hidden = np.tanh(np.asarray(x @ params["Dense_0"]["kernel"]) + np.asarray(params["Dense_0"]["bias"]))
    head = params["head"]["dense"]
    expected = hidden @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(model.apply({"params": params}, x), expected, rtol=1e-5, atol=1e-6)


def test_batch_norm_trains_on_the_batch_and_evaluates_on_averages(random_variables):
    model = archs.build("mlp", num_classes=None, hidden_sizes=(5,), normalization="batch", activation="tanh")
    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, size=(64, 4)), jnp.float32)
    variables = model.init(jax.random.key(0), x)
    outputs, updates = model.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(np.arctanh(outputs).mean(axis=0), 0, atol=1e-4)
    statistics = updates["batch_stats"]["BatchNorm_0"]
    assert np.all(np.asarray(statistics["mean"]) != 0)
    one = model.apply({**variables, **updates}, x[:1])
    np.testing.assert_allclose(one, model.apply({**variables, **updates}, x)[:1], rtol=1e-4, atol=1e-6)
