"""How often does a classifier change its mind when an image moves by a pixel (Zhang, 2019)?"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from train.errors import UserError
from train.evaluators import Evaluation, equivariance

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(equivariance.Evaluator):
    """Reports `flip_rate_shift_K` for K from 1 to `max_shift`: the share of images that change their class.

    Images are shifted by K pixels in four directions, and 0 moves in; the share is over all images and directions.
    """

    max_shift: int = 1

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        if "accuracy" not in experiment.objective.measures or not equivariance.has_images(self.split, experiment):
            raise UserError(f"{path}: only classifiers of images change the class of an image that moves.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return tuple(f"flip_rate_shift_{k}" for k in range(1, self.max_shift + 1))

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        return {f"flip_rate_shift_{k}": self._flips(evaluation, k) for k in range(1, self.max_shift + 1)}

    def _flips(self, evaluation: Evaluation, pixels: int) -> float:
        pairs = self.shifted_images(evaluation, pixels)
        return float(np.mean(np.concatenate([after.argmax(-1) != before.argmax(-1) for after, before in pairs])))
