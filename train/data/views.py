"""How one image data set becomes what each architecture reads. Images are float [B, X, Y, C], from 0 to 1."""

from collections.abc import Callable

import numpy as np


def scale(image: np.ndarray) -> np.ndarray:
    """Bytes 0..255 as float32 from 0 to 1; floats stay as they are."""
    return image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32, copy=False)


def permute_pixels(image: np.ndarray, seed: int) -> np.ndarray:
    """Moves pixels by a permutation that depends on `seed` alone (as in permuted sequential MNIST, Le et al., 2015)."""
    batch, rows, columns, channels = image.shape
    order = np.random.default_rng(seed).permutation(rows * columns)
    return image.reshape(batch, rows * columns, channels)[:, order].reshape(image.shape)


def as_image(image: np.ndarray) -> dict[str, np.ndarray]:
    """[B, X, Y, C]."""
    return {"image": image}


def as_rows(image: np.ndarray) -> dict[str, np.ndarray]:
    """Rows from the top as steps in time: [B, X, Y * C]."""
    return {"sequence": image.reshape(*image.shape[:2], -1)}


def as_pixels(image: np.ndarray) -> dict[str, np.ndarray]:
    """Pixels in reading order as steps in time: [B, X * Y, C]."""
    return {"sequence": image.reshape(len(image), -1, image.shape[-1])}


def as_flat(image: np.ndarray) -> dict[str, np.ndarray]:
    """All values as one vector: [B, X * Y * C]."""
    return {"features": image.reshape(len(image), -1)}


VIEWS: dict[str, Callable[[np.ndarray], dict[str, np.ndarray]]] = {
    "image": as_image,
    "rows": as_rows,
    "pixels": as_pixels,
    "flat": as_flat,
}
