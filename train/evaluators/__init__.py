"""What is measured on a state. Each module has an `Evaluator`: a frozen dataclass with the fields `split` and `every`,
`check(path, experiment)`, which refuses what it cannot measure, and `evaluate(evaluation) -> {name: number}`.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array

from train import decoding
from train import mesh as meshes
from train.data import Augmentation, EvaluationBatches
from train.data.feeding import on_devices
from train.errors import UserError
from train.step import TrainState

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Scheduled:
    """Fields that all evaluators have.

    Attributes:
        split: of the data.
        every: updates between two evaluations; None evaluates at the end only.
    """

    split: str = "test"
    every: int | None = None

    def check(self, path: str, experiment: "Experiment") -> None:
        """Raises UserError, beginning with the config field `path`, for what cannot be measured."""
        if self.every is not None and self.every < 1:
            raise UserError(f"{path}.every: {self.every} is out of range; it must be at least 1.")
        try:
            experiment.data.split(self.split)
        except UserError as error:
            raise UserError(f"{path}.split: {error}") from error

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        """The names of the numbers that `evaluate` gives."""
        return experiment.objective.measures


def due(evaluator: Scheduled, done: int, steps: int) -> bool:
    """Whether it is the evaluator's turn after `done` of `steps` updates."""
    return done == steps or (evaluator.every is not None and done % evaluator.every == 0)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluator may use: the state, the data, the compiled step that judges a batch, and the run's folder."""

    experiment: "Experiment"
    mesh: jax.sharding.Mesh
    step: Callable[[TrainState, Any], dict[str, tuple[Array, Array]]]
    state: TrainState
    folder: epath.Path

    def batches(
        self, split: str, transform: tuple[Augmentation, np.ndarray] | None = None
    ) -> Iterator[dict[str, jax.Array]]:
        """The split in order, on the mesh; `transform` changes every image alike."""
        data = self.experiment.data
        rows = meshes.local_rows(self.mesh, data.batch_size)
        return on_devices(EvaluationBatches(data, self.experiment.view, split, rows, transform), self.mesh)

    def means(
        self,
        split: str,
        transform: tuple[Augmentation, np.ndarray] | None = None,
        change: Callable[[int, dict[str, jax.Array]], dict[str, jax.Array]] = lambda number, batch: batch,
    ) -> dict[str, float]:
        """The objective's metrics over a whole split, exact however it is cut into batches; `change` makes of the
        number of a batch and the batch the one that is judged."""
        totals: dict[str, tuple[Array, Array]] | None = None
        for number, batch in enumerate(self.batches(split, transform)):
            metrics = self.step(self.state, change(number, batch))
            totals = metrics if totals is None else jax.tree.map(jnp.add, totals, metrics)
        assert totals is not None, "a split has at least one batch"
        return {name: float(total / count) for name, (total, count) in jax.device_get(totals).items()}

    def write(self, split: str, choice: decoding.Choice, length: int, num_examples: int | None = None) -> np.ndarray:
        """What the model writes for the sources of a split, or for the first of them: tokens [N, length]."""
        data = self.experiment.data
        function = decoding.compiled(writer_of(self.experiment), self.mesh, choice, length)
        size = num_examples or len(data.split(split))
        batches = itertools.islice(self.batches(split), math.ceil(size / data.batch_size))
        written = [function(self.state, batch, jax.random.key(0)) for batch in batches]
        return np.concatenate(jax.device_get(written))[:size]

    def run(self, chosen: Mapping[str, Any]) -> dict[str, float]:
        """What the chosen evaluators report, each number named `split/name`."""
        numbers: dict[str, float] = {}
        for evaluator in chosen.values():
            numbers |= {f"{evaluator.split}/{name}": value for name, value in evaluator.evaluate(self).items()}
        return numbers


def writer_of(experiment: "Experiment") -> decoding.Writer:
    """The model of a run as one that writes targets; without a vocabulary it is not known which token ends them."""
    known = experiment.data.vocabulary()
    if known is None:
        return decoding.Writer(experiment.model)
    return decoding.Writer(experiment.model, known.end, known.pad)


def check_writes(path: str, experiment: "Experiment", length: int) -> None:
    """Raises UserError, beginning with `path`, unless the model writes targets of `length` tokens."""
    name, spec = experiment.config.model.name, experiment.spec
    if "target" not in spec or not decoding.has_cache(experiment.model):
        raise UserError(f"{path}: {name} writes no target from a source; seq2seq and transformer do.")
    writer = writer_of(experiment)
    try:
        writer.cache_shapes(writer.read(spec), 1, length)
    except ValueError as error:
        raise UserError(f"{path}: {name} cannot write {length} tokens: {error}") from error


def quarters(lengths: np.ndarray) -> list[np.ndarray]:
    """Indices of a quarter of the examples each, from the shortest to the longest; of equal length, the first first."""
    return np.array_split(np.argsort(lengths, kind="stable"), 4)
