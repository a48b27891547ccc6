"""The objective's own metrics over a split, for objectives that count nothing as right or wrong."""

import dataclasses

from train.evaluators import Evaluation, Scheduled


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `loss` and whatever else the objective measures."""

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        return evaluation.means(self.split)
