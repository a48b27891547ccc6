"""Random orthogonal matrices."""

from typing import Any

import jax
from jax import numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def orthogonal_matrices(key: PRNGKeyArray, count: int, size: int, dtype: Any = "float32") -> Float[Array, "N D D"]:
    """Matrices that are uniform over all rotations and reflections (Mezzadri, 2007).

    They are decomposed one by one, in a loop. A batch would be shared out over the threads of the CPU, and the
    decomposition waits on one of these threads for the others: where as many batches as there are threads come
    together, such as those of the two directions of an LSTM on two cores, all wait for ever (jaxlib 0.10.2, found in
    `lapack_sgeqrf_ffi`).
    """
    return jax.lax.map(_rotation, jax.random.normal(key, (count, size, size), dtype))


def _rotation(matrix: Float[Array, "D D"]) -> Float[Array, "D D"]:
    q, r = jnp.linalg.qr(matrix)
    return q * jnp.sign(jnp.diagonal(r))[None]
