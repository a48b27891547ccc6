"""The share of examples, steps, nodes or tokens that are classified right, and whatever else the objective measures."""

import dataclasses
from typing import TYPE_CHECKING

from train.errors import UserError
from train.evaluators import Evaluation, Scheduled

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `accuracy`, `loss` and the objective's other measures."""

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        if "accuracy" not in experiment.objective.measures:
            raise UserError(f"{path}: {experiment.config.objective.name} has no accuracy; use the evaluator 'loss'.")

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        return evaluation.means(self.split)
