"""Accuracy on images that are shifted by whole pixels, as a measure of translation invariance."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from train.data.augmentations import random_shift
from train.errors import UserError
from train.evaluators import Evaluation, accuracy

if TYPE_CHECKING:
    from train.experiment import Experiment

DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


@dataclasses.dataclass(frozen=True)
class Evaluator(accuracy.Evaluator):
    """Reports `accuracy_shift_k` for k from 1 to `max_shift`: the mean over shifts by k pixels in four directions.

    Attributes:
        max_shift: the largest shift, in pixels of the source's images; what moves in is 0.
    """

    max_shift: int = 2

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        first = experiment.data.split(self.split)[np.zeros(1, int)]
        if "image" not in first:
            raise UserError(f"{path}: the data have no images to shift; they give {', '.join(first)}.")
        largest = min(first["image"].shape[1:3]) - 1
        if not 1 <= self.max_shift <= largest:
            raise UserError(f"{path}.max_shift: {self.max_shift} is out of range; it must be from 1 to {largest}.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return tuple(f"accuracy_shift_{k}" for k in range(1, self.max_shift + 1))

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        return {f"accuracy_shift_{k}": self._accuracy(evaluation, k) for k in range(1, self.max_shift + 1)}

    def _accuracy(self, evaluation: Evaluation, pixels: int) -> float:
        shift = random_shift.Augmentation(pixels)
        draws = pixels * np.asarray(DIRECTIONS)
        return float(np.mean([evaluation.means(self.split, (shift, draw))["accuracy"] for draw in draws]))
