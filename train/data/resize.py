"""Linear resizing of a batch of images as two matrix products, one over rows and one over columns."""

import functools

import numpy as np


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """[B, X, Y, C] to [B, size, size, C]; smooths before it shrinks, as `jax.image.resize` does with antialiasing."""
    rows, columns = (_weights(extent, size) for extent in image.shape[1:3])
    return np.einsum("ix,bxyc,jy->bijc", rows, image, columns, optimize=True).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _weights(before: int, after: int) -> np.ndarray:
    """Triangle kernel [after, before] between pixel centres, as wide as the coarser of the two grids."""
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    distance = np.abs(centres[:, None] - np.arange(before)) / max(before / after, 1.0)
    kernel = np.maximum(0.0, 1.0 - distance)
    return (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)
