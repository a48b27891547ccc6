"""Parameters for tests of architectures."""

import math

import jax
import numpy as np
import pytest
from jax import numpy as jnp


def random_variables(model, *args, **kwargs):
    """Random variables of the right shapes, none zero; compiling the real initialisers takes seconds.

    Scales above 1 and variances below let signals pass through many normalisations.
    """
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.normal(0, 0.5 / math.sqrt(math.prod(leaf.shape[:-1])), leaf.shape)
        name = jax.tree_util.keystr(path)
        if name.endswith("['var']"):
            values = (1 + np.abs(values)) / 4
        elif name.endswith("['scale']"):
            values = 1.5 + values
        return jnp.asarray(values, leaf.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), *args, **kwargs)
    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(name="random_variables")
def random_variables_fixture():
    return random_variables
