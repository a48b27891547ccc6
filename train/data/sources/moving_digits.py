"""Scikit-learn's handwritten digits moving over a black canvas: what is it, and where does it go?

In the manner of Moving MNIST (Srivastava et al., 2015), but with one digit, which keeps its speed and direction and
comes in again at the opposite edge where it leaves the canvas. So in every frame all places are as likely, whatever the
direction: a single frame says nothing about it.
"""

import dataclasses
from typing import Literal

import numpy as np

from train.data import generated
from train.data.arrays import InMemory
from train.errors import UserError

DIRECTIONS = np.asarray([(-1, 0), (1, 0), (0, -1), (0, 1)])  # Up, down, left, right: rows and columns.
DIGIT = 8  # Rows and columns of a digit.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `video` [frames, canvas, canvas, 1], from 0 to 1, and `label`; of one frame, `image` [canvas, canvas, 1].

    No image of a digit is in two splits, see `generated.digits_of`. A single frame is the middle one, number
    frames // 2, of the video that the other fields describe.

    Attributes:
        label: the digit; the direction: up, down, left, right; or both: 4 digit + direction.
        frames: of a video.
        canvas: rows and columns of a frame, in pixels.
        speed: pixels from one frame to the next.
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the movements; another seed is another data set.
    """

    label: Literal["digit", "direction", "both"] = "both"
    frames: int = 8
    canvas: int = 16
    speed: int = 1
    train_size: int = 4_000
    eval_size: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        generated.check(self, frames=1, canvas=DIGIT, speed=1, train_size=1, eval_size=1, seed=0)
        if 2 * self.speed >= self.canvas:
            raise UserError(
                f"config.data.source.speed: {self.speed} pixels a frame on a canvas of {self.canvas} look like "
                f"{self.canvas - self.speed} the other way; less than half of the canvas is allowed."
            )

    @property
    def num_classes(self) -> int:
        return {"digit": 10, "direction": len(DIRECTIONS), "both": 10 * len(DIRECTIONS)}[self.label]

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        rng = generated.generator(self.seed, name)
        images = generated.digits_of(name)
        chosen = rng.integers(len(images["label"]), size=size)
        direction = rng.integers(len(DIRECTIONS), size=size)
        middle = rng.integers(self.canvas, size=(size, 2))
        time = np.arange(self.frames) - self.frames // 2
        corner = middle[:, None] + self.speed * time[:, None] * DIRECTIONS[direction][:, None]
        video = self._drawn(images["image"][chosen], corner)
        pictures = {"video": video} if self.frames > 1 else {"image": video[:, 0]}
        digit = images["label"][chosen]
        labels = {"digit": digit, "direction": direction, "both": len(DIRECTIONS) * digit + direction}
        return InMemory({**pictures, "label": labels[self.label].astype(np.int32)})

    def _drawn(self, image: np.ndarray, corner: np.ndarray) -> np.ndarray:
        """Videos [N, frames, canvas, canvas, 1] of images [N, 8, 8, 1], upper left at `corner` [N, frames, 2]."""
        still = np.zeros((len(image), self.canvas, self.canvas, 1), np.float32)
        still[:, :DIGIT, :DIGIT] = image
        rows, columns = ((np.arange(self.canvas) - corner[:, :, axis, None]) % self.canvas for axis in range(2))
        example = np.arange(len(image))[:, None, None, None]
        return still[example, rows[:, :, :, None], columns[:, :, None, :]]
