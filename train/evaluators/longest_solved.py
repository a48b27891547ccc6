"""Up to which length a model makes no error, for tasks that have a length, such as counting."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from train import mesh as meshes
from train import objectives
from train.errors import UserError
from train.evaluators import Evaluation, Scheduled
from train.step import TrainState, evaluated_variables

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `solved`, the share of examples that are right at every place that counts, and `longest_solved`.

    The length of an example is the number of its places that count, those where `label_mask` is True. `longest_solved`
    is the largest length in the split up to which, from the shortest on, all examples are right; 0 if there is none.
    """

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        if "label_mask" not in experiment.spec:
            raise UserError(f"{path}: the data have no label_mask, so examples have no length; counting gives one.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return ("solved", "longest_solved")

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        judge = _compiled(evaluation.experiment.model, evaluation.mesh)
        batches = [jax.device_get(judge(evaluation.state, batch)) for batch in evaluation.batches(self.split)]
        size = len(evaluation.experiment.data.split(self.split))
        is_right, length = (np.concatenate(parts)[:size] for parts in zip(*batches, strict=True))
        return {"solved": float(is_right.mean()), "longest_solved": longest(is_right, length)}


@functools.lru_cache(maxsize=8)
def _compiled(model: Any, mesh: Mesh) -> Callable[[TrainState, Mapping[str, Array]], tuple[Array, Array]]:
    """A compiled function, the same object for equal arguments: state, batch -> whether right [B], lengths [B]."""
    gather = functools.partial(meshes.gather_for_use, mesh)

    def judge(state: TrainState, batch: Mapping[str, Array]) -> tuple[Array, Array]:
        inputs = objectives.model_inputs(model, batch)
        logits = model.apply(evaluated_variables(state, gather), **inputs, train=False)
        counts = batch["label_mask"]
        is_right = jnp.all((jnp.argmax(logits, -1) == batch["label"]) | ~counts, axis=1)
        return is_right, counts.sum(axis=1)

    return jax.jit(judge, out_shardings=meshes.replicated(mesh))


def longest(is_right: np.ndarray, length: np.ndarray) -> float:
    """The largest `length` [N] up to which every example `is_right` [N]; 0 if there is none."""
    first_error = length[~is_right].min(initial=length.max() + 1)
    return float(length[length < first_error].max(initial=0))
