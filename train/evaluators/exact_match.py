"""The share of sequences that a model writes exactly right, each token read from its own and not from the true ones."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from train import decoding
from train.data import sequences
from train.errors import UserError
from train.evaluators import Evaluation, Scheduled, check_writes, quarters

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `exact_match`: of targets, those whose every token, the end included, is the one written greedily.

    Attributes:
        by_length: whether to report `exact_match_length_1` to `exact_match_length_4` too: the same for each quarter of
            the examples, from those with the fewest tokens in their target to those with the most.
    """

    by_length: bool = False

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        check_writes(path, experiment, _length(experiment))
        if self.by_length and len(experiment.data.split(self.split)) < 4:
            raise UserError(f"{path}.by_length: the split {self.split!r} has too few examples for four parts.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return ("exact_match", *(f"exact_match_length_{n}" for n in range(1, 5) if self.by_length))

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        examples = evaluation.experiment.data.split(self.split)
        target = sequences.column(examples, "target")
        real = np.ones(target.shape, bool)
        if "target_mask" in evaluation.experiment.spec:
            real = sequences.column(examples, "target_mask")
        written = evaluation.write(self.split, decoding.GREEDY, target.shape[1])
        correct = ((written == target) | ~real).all(axis=1)
        parts = quarters(real.sum(axis=1)) if self.by_length else []
        by_length = {f"exact_match_length_{n}": float(correct[part].mean()) for n, part in enumerate(parts, 1)}
        return {"exact_match": float(correct.mean()), **by_length}


def _length(experiment: "Experiment") -> int:
    """Tokens of the longest target."""
    return experiment.spec["target"].shape[1] if "target" in experiment.spec else 1
