"""Does it matter to a network where in the image, or when in time, something is? The commutator with a shift."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from train import mesh as meshes
from train import objectives
from train.data.augmentations import random_shift
from train.errors import UserError
from train.evaluators import Evaluation, Scheduled
from train.evaluators.gradient_flow import steps_of
from train.evaluators.shift_robustness import DIRECTIONS
from train.step import TrainState, abstract_state, evaluated_variables

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `commutator_shift_K` for K from 1 to `max_shift`: by how much outputs differ, as a share of themselves.

    0 is a network that commutes with the shift. The share is that of root mean squares, over all outputs of the split.

    Images are shifted by K pixels in four directions, and 0 moves in, as in `shift_robustness`; outputs must stay what
    they are. Sequences are read twice, without their last K steps: as they are, and K steps later, after zeros (or the
    token 0), which are masked where the network reads a mask. Outputs must be the same, those of every step K later.

    Attributes:
        max_shift: the largest shift, in pixels of the source's images or in steps.
    """

    max_shift: int = 2

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        name, largest = experiment.config.model.name, _largest(path, self.split, experiment)
        if not 1 <= self.max_shift <= largest:
            raise UserError(f"{path}.max_shift: {self.max_shift} is out of range; it must be from 1 to {largest}.")
        if has_images(self.split, experiment):
            return
        moved = Moved(experiment.model, *steps_of(path, experiment), self.max_shift)
        variables = evaluated_variables(abstract_state(experiment.recipe, experiment.spec))
        try:
            jax.eval_shape(moved, variables, experiment.model_inputs(experiment.spec))
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: {name} does not take sequences of another length: {reason}") from error

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return tuple(f"commutator_shift_{k}" for k in range(1, self.max_shift + 1))

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        is_image = has_images(self.split, evaluation.experiment)
        pairs = self.shifted_images if is_image else self._of_sequences
        return {f"commutator_shift_{k}": difference(pairs(evaluation, k)) for k in range(1, self.max_shift + 1)}

    def shifted_images(self, evaluation: Evaluation, pixels: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Outputs for images that were shifted, and for those that were not, of the same batch."""
        shift = random_shift.Augmentation(pixels)
        function = compiled(Plain(evaluation.experiment.model), evaluation.mesh)
        for draw in pixels * np.asarray(DIRECTIONS):
            batches = evaluation.batches(self.split), evaluation.batches(self.split, (shift, draw))
            for still, moved in zip(*batches, strict=True):
                before, valid = jax.device_get(function(evaluation.state, still))
                after, _ = jax.device_get(function(evaluation.state, moved))
                yield after[valid], before[valid]

    def _of_sequences(self, evaluation: Evaluation, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Outputs for sequences that came later, and for those that did not."""
        experiment = evaluation.experiment
        function = compiled(Moved(experiment.model, *steps_of("equivariance", experiment), steps), evaluation.mesh)
        for batch in evaluation.batches(self.split):
            (after, before), valid = jax.device_get(function(evaluation.state, batch))
            yield after[valid], before[valid]


def difference(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
    """The root of the squares of all differences, over that of all that stood before."""
    squares = np.sum([[np.square(after - before).sum(), np.square(before).sum()] for after, before in pairs], axis=0)
    return float(np.sqrt(squares[0] / squares[1])) if squares[1] else 0.0


@dataclasses.dataclass(frozen=True)
class Plain:
    """The function: variables, inputs -> outputs."""

    model: Any

    def __call__(self, variables: Mapping[str, Any], inputs: Mapping[str, Array]) -> Float[Array, "B *rest"]:
        return self.model.apply(variables, **inputs, train=False)


@dataclasses.dataclass(frozen=True)
class Moved:
    """The function: variables, inputs -> outputs for sequences that come `shift` steps later, and for others.

    Attributes:
        model: of the run.
        steps, mask: as `gradient_flow.steps_of` says.
        shift: in steps.
    """

    model: Any
    steps: str
    mask: str | None
    shift: int

    def __call__(self, variables: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[Array, Array]:
        timed = [name for name in (self.steps, self.mask) if name]
        window = {name: inputs[name][:, : -self.shift] for name in timed}
        later = {name: _delayed(value, self.shift) for name, value in window.items()}
        before, after = (self.model.apply(variables, **{**inputs, **x}, train=False) for x in (window, later))
        return (after[:, self.shift :] if before.shape != after.shape else after), before


def _delayed(x: Array, steps: int) -> Array:
    """Zeros, or False, before [B, T, ...]."""
    return jnp.pad(x, ((0, 0), (steps, 0), *((0, 0),) * (x.ndim - 2)))


@functools.lru_cache(maxsize=8)
def compiled(outputs: Plain | Moved, mesh: Mesh) -> Callable[[TrainState, Mapping[str, Array]], tuple[Any, Array]]:
    """A compiled function, the same object for equal arguments: state, batch -> outputs, which rows are examples."""
    gather = functools.partial(meshes.gather_for_use, mesh)

    def function(state: TrainState, batch: Mapping[str, Array]) -> tuple[Any, Array]:
        inputs = objectives.model_inputs(outputs.model, batch)
        return outputs(evaluated_variables(state, gather), inputs), objectives.valid_rows(batch)

    return jax.jit(function, out_shardings=meshes.replicated(mesh))


def has_images(split: str, experiment: "Experiment") -> bool:
    return "image" in experiment.data.split(split)[np.zeros(1, int)]


def _largest(path: str, split: str, experiment: "Experiment") -> int:
    """The largest shift that leaves something."""
    if has_images(split, experiment):
        return min(experiment.data.split(split)[np.zeros(1, int)]["image"].shape[1:3]) - 1
    name, _ = steps_of(path, experiment)
    return experiment.spec[name].shape[1] - 1
