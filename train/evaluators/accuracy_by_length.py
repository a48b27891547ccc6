"""Is a long sequence harder than a short one? The objective's accuracy for each quarter of the lengths."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import numpy as np

from train import mesh as meshes
from train.data import sequences
from train.errors import UserError
from train.evaluators import Evaluation, accuracy, quarters

if TYPE_CHECKING:
    from train.experiment import Experiment

MASKS = ("mask", "source_mask", "tokens_mask", "sequence_mask", "audio_mask", "label_mask")  # The first counts.


@dataclasses.dataclass(frozen=True)
class Evaluator(accuracy.Evaluator):
    """Reports `accuracy_length_1` to `accuracy_length_4`, from the quarter of the examples with the fewest real steps
    to that with the most; and the mean lengths, `length_1` to `length_4`.

    What a model writes by itself is measured by length in `exact_match` and `bleu`.
    """

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        _mask(path, self.split, experiment)
        if len(experiment.data.split(self.split)) < 4:
            raise UserError(f"{path}: the split {self.split!r} has too few examples for four parts.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return tuple(f"{what}_{number}" for what in ("accuracy_length", "length") for number in range(1, 5))

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        examples = evaluation.experiment.data.split(self.split)
        lengths = sequences.column(examples, _mask("", self.split, evaluation.experiment)).sum(axis=1)
        parts = quarters(lengths)
        found = [evaluation.means(self.split, change=only(evaluation, part))["accuracy"] for part in parts]
        means = [float(lengths[part].mean()) for part in parts]
        return dict(zip(self.reports(evaluation.experiment), [*found, *means], strict=True))


def only(evaluation: Evaluation, part: np.ndarray) -> Callable[[int, dict[str, jax.Array]], dict[str, jax.Array]]:
    """Lets nothing of a batch count but the examples whose indices are in `part`."""
    size, mesh = evaluation.experiment.data.batch_size, evaluation.mesh
    rows = meshes.local_rows(mesh, size)

    def change(number: int, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        places = np.arange(number * size, (number + 1) * size)
        return batch | meshes.put_batch(mesh, {"valid": np.isin(places, part)[rows]}, rows, size)

    return change


def _mask(path: str, split: str, experiment: "Experiment") -> str:
    """The entry that says which steps of an example are real; raises UserError, beginning with `path`, if none does."""
    first = experiment.data.split(split)[np.zeros(1, int)]
    for name in MASKS:
        if name in first and first[name].ndim == 2:
            return name
    raise UserError(f"{path}: the data have no mask, so all examples are of one length; they give {', '.join(first)}.")
