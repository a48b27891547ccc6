"""Shifts by whole pixels; what moves in from outside is 0."""

import dataclasses

import numpy as np

from train.errors import UserError


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Moves each image up to `pixels` along each of its two axes.

    Attributes:
        pixels: the largest shift.
    """

    pixels: int = 1

    changes = "image"

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise UserError(f"config.data.augmentation.random_shift.pixels: {self.pixels} is less than 0.")

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Shifts [count, 2], from -pixels to pixels."""
        return rng.integers(-self.pixels, self.pixels, size=(count, 2), endpoint=True)

    def apply(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Moves image b of [B, X, Y, C] by `draws[b]`, downwards and to the right."""
        return shift(images, draws)


def shift(images: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Moves each of images [B, X, Y, C] by its own shift [B, 2]; what moves in is 0."""
    size_x, size_y = images.shape[1:3]
    x = np.arange(size_x) - shifts[:, :1]
    y = np.arange(size_y) - shifts[:, 1:]
    inside = ((x >= 0) & (x < size_x))[:, :, None] & ((y >= 0) & (y < size_y))[:, None, :]
    rows = np.arange(len(images))[:, None, None]
    moved = images[rows, np.clip(x, 0, size_x - 1)[:, :, None], np.clip(y, 0, size_y - 1)[:, None, :]]
    return np.where(inside[..., None], moved, np.zeros((), images.dtype))
