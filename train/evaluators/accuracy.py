"""The fraction of examples classified right, and the loss."""

import dataclasses
from typing import TYPE_CHECKING

from train.errors import UserError
from train.evaluators import Evaluation, Scheduled

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `accuracy` and `loss`."""

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        if experiment.config.objective.name != "classification":
            raise UserError(f"{path}: {experiment.config.objective.name} has no accuracy; use the evaluator 'loss'.")

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        return evaluation.means(self.split)
