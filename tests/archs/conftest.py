"""Parameters for tests of architectures."""

import math

import jax
import numpy as np
import pytest
from jax import numpy as jnp


def random_variables(model, *args, **kwargs):
    """Random variables of the right shapes, none zero; compiling the real initialisers takes seconds."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.normal(0, 0.5 / math.sqrt(math.prod(leaf.shape[:-1])), leaf.shape)
        variance = "var" in jax.tree_util.keystr(path)
        return jnp.asarray(1 + np.abs(values) if variance else values, leaf.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), *args, **kwargs)
    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(name="random_variables")
def random_variables_fixture():
    return random_variables
