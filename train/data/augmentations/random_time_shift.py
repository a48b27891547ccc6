"""Shifts sound in time by whole samples; what moves in from outside is silence."""

import dataclasses

import numpy as np

from train.errors import UserError


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Moves each recording up to `samples` earlier or later.

    Where it counts as real does not move: it is heard through a window of its own length, and loses what leaves that.

    Attributes:
        samples: the largest shift.
    """

    samples: int = 100

    changes = "audio"

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise UserError(f"config.data.augmentation.random_time_shift.samples: {self.samples} is less than 0.")

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Shifts [count], from -samples to samples."""
        return rng.integers(-self.samples, self.samples, size=count, endpoint=True)

    def apply(self, audio: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Moves recording b of [B, T] by `draws[b]`, later if it is positive."""
        length = audio.shape[1]
        places = np.arange(length) - draws[:, None]
        inside = (places >= 0) & (places < length)
        moved = np.take_along_axis(audio, np.clip(places, 0, length - 1), axis=1)
        return np.where(inside, moved, np.zeros((), audio.dtype))
