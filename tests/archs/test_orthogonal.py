"""Random orthogonal matrices: orthogonal, and decomposed one by one wherever the project draws them."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import archs
from archs.layers.mixers.performer import draw_projection
from archs.layers.orthogonal import orthogonal_matrices


def test_are_orthogonal_and_differ():
    matrices = np.asarray(orthogonal_matrices(jax.random.key(0), 3, 8))
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(8), (3, 8, 8)), atol=1e-5)
    assert np.abs(matrices[0] - matrices[1]).max() > 0.1


def test_are_those_of_jax():
    key = jax.random.key(1)
    np.testing.assert_allclose(orthogonal_matrices(key, 3, 8), jax.random.orthogonal(key, 8, (3,)), atol=1e-6)


def bidirectional_lstm():
    model = archs.build("rnn", variant="lstm", hidden_size=8, num_classes=2, bidirectional=True)
    return jax.make_jaxpr(model.init)(jax.random.key(0), jnp.zeros((1, 3, 4)))


def performer_features():
    return jax.make_jaxpr(lambda key: draw_projection(key, 32, 8, True, jnp.dtype("float32")))(jax.random.key(0))


@pytest.mark.parametrize("made", [bidirectional_lstm, performer_features])
def test_no_batch_is_shared_out_over_threads_that_wait_for_each_other(made):
    found = list(decompositions(made().jaxpr))
    assert {equation.invars[0].aval.ndim for equation in found} == {2}


def decompositions(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("qr", "geqrf"):
            yield equation
        else:
            for value in equation.params.values():
                if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                    yield from decompositions(getattr(value, "jaxpr", value))
