"""What is a network worth at resolutions that it was not trained at?"""

import dataclasses
import functools
from typing import TYPE_CHECKING

import jax
from flax.errors import ScopeParamShapeError
from jaxtyping import Array

from train.errors import UserError
from train.evaluators import Evaluation, accuracy
from train.step import abstract_state, evaluated_variables

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(accuracy.Evaluator):
    """Reports `accuracy_at_S` for each size S: images as they were in training are made S×S pixels, bilinearly.

    Attributes:
        sizes: in pixels.
    """

    sizes: tuple[int, ...] = (24, 32, 48)

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        name = experiment.config.model.name
        if "image" not in experiment.spec:
            raise UserError(f"{path}: {name} reads no images whose size could change.")
        variables = evaluated_variables(abstract_state(experiment.recipe, experiment.spec))
        for size in self.sizes:
            if size < 1:
                raise UserError(f"{path}.sizes: {size} is out of range; it must be at least 1.")
            inputs = jax.eval_shape(functools.partial(resized, size, 0), experiment.model_inputs(experiment.spec))
            try:
                jax.eval_shape(functools.partial(experiment.model.apply, train=False), variables, **inputs)
            except (ValueError, ScopeParamShapeError) as error:
                fixed = isinstance(error, ScopeParamShapeError)
                reason = "its weights are made for one size" if fixed else " ".join(str(error).split())
                raise UserError(f"{path}.sizes: {name} does not take {size}×{size} pixels: {reason}.") from error

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return tuple(f"accuracy_at_{size}" for size in self.sizes)

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        return {
            f"accuracy_at_{size}": evaluation.means(self.split, change=functools.partial(resized, size))["accuracy"]
            for size in self.sizes
        }


@functools.partial(jax.jit, static_argnums=0)
def resized(size: int, number: int, batch: dict[str, Array]) -> dict[str, Array]:
    """The batch with images [B, size, size, C]."""
    image = batch["image"]
    shape = (image.shape[0], size, size, image.shape[-1])
    return batch | {"image": jax.image.resize(image, shape, "bilinear")}
