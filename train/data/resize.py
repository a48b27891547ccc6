"""Linear resizing of a batch of images, rows first, then columns.

As sums over the few source pixels that each new one sees, not as a matrix product: the threads of numpy's BLAS would
fight with those that XLA computes on.
"""

import functools

import numpy as np


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """[B, X, Y, C] to [B, size, size, C]; smooths before it shrinks, as `jax.image.resize` does with antialiasing."""
    return _along_columns(_along_columns(image, size).swapaxes(1, 2), size).swapaxes(1, 2)


def _along_columns(image: np.ndarray, size: int) -> np.ndarray:
    indices, weights = _taps(image.shape[2], size)
    taps = (np.take(image, i, axis=2) * w[:, None] for i, w in zip(indices, weights, strict=True))
    return functools.reduce(np.add, taps)


@functools.lru_cache(maxsize=16)
def _taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new pixel, the source pixels it sees [K, after] and their weights.

    The weights are a triangle around the new pixel's centre, as wide as the coarser of the two grids.
    """
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    distance = np.abs(centres[:, None] - np.arange(before)) / max(before / after, 1.0)
    kernel = np.maximum(0.0, 1.0 - distance)
    kernel /= kernel.sum(1, keepdims=True)
    most = int((kernel > 0).sum(1).max())
    indices = np.argsort(-kernel, axis=1, kind="stable")[:, :most]
    return indices.T, np.take_along_axis(kernel, indices, axis=1).T.astype(np.float32)
