"""What part of an image does the middle of a layer depend on?

By derivatives: a place that the output cannot see has none. That is the receptive field; most of it hardly matters, so
the effective one (Luo et al., 2016, https://arxiv.org/abs/1701.04128) is measured too, by the width of the squared
derivative.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from train import mesh as meshes
from train import objectives, representations
from train.errors import UserError
from train.evaluators import Evaluation, Scheduled
from train.step import TrainState, abstract_state, evaluated_variables

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `receptive_field_share/LAYER`, the part of the image that the middle of a layer depends on, from 0 to 1,
    and `receptive_field_width/LAYER`, two standard deviations of the squared derivative along an axis, in pixels.

    A slash in a layer's name is a dot. The middle is one place of maps [X, Y, C] or one token of [T, D], a random sum
    of its channels; a layer that has no places, [D], counts as a whole. The share is of pixels with a derivative that
    is not zero for some image, the width of the sum over the images of a batch; both the mean over batches.

    Attributes:
        layers: which, as `train.representations` names them; empty is all.
        num_batches: batches of the split that are used, from the first on.
    """

    layers: tuple[str, ...] = ()
    num_batches: int = 1

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        name = experiment.config.model.name
        if "image" not in objectives.input_names(experiment.model) or "image" not in experiment.spec:
            raise UserError(f"{path}: {name} reads no images here; this is about what part of an image is seen.")
        self._layers(f"{path}.layers", experiment)
        most = -(-len(experiment.data.split(self.split)) // experiment.data.batch_size)
        if not 1 <= self.num_batches <= most:
            raise UserError(f"{path}.num_batches: {self.num_batches} is out of range, from 1 to {most}.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        layers = [layer.replace("/", ".") for layer in self._layers("layers", experiment)]
        return tuple(f"receptive_field_{what}/{layer}" for what in ("share", "width") for layer in layers)

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        experiment = evaluation.experiment
        function = compiled(experiment.model, evaluation.mesh, self._layers("layers", experiment))
        batches = zip(range(self.num_batches), evaluation.batches(self.split), strict=False)
        found = [jax.device_get(function(evaluation.state, batch)) for _, batch in batches]
        shares = np.mean([[(one > 0).mean() for one in greatest] for greatest, _ in found], axis=0)
        widths = np.mean([[width(one) for one in squares] for _, squares in found], axis=0)
        return dict(zip(self.reports(experiment), [*shares.tolist(), *widths.tolist()], strict=True))

    def _layers(self, field: str, experiment: "Experiment") -> tuple[str, ...]:
        variables = evaluated_variables(abstract_state(experiment.recipe, experiment.spec))
        inputs = experiment.model_inputs(experiment.spec)
        known = representations.names(experiment.model, variables, inputs)
        return representations.chosen(field, self.layers, known)


@functools.lru_cache(maxsize=8)
def compiled(
    model: nn.Module, mesh: Mesh, layers: tuple[str, ...]
) -> Callable[[TrainState, Mapping[str, Array]], tuple[Array, Array]]:
    """A compiled function, the same object for equal arguments: state, batch -> by layer and pixel [L, X, Y] the
    greatest absolute derivative, and the sum of squares, over the examples; whole on every process.
    """
    gather = functools.partial(meshes.gather_for_use, mesh)

    def function(state: TrainState, batch: Mapping[str, Array]) -> tuple[Array, Array]:
        variables, inputs = evaluated_variables(state, gather), objectives.model_inputs(model, batch)
        valid = objectives.valid_rows(batch)[:, None, None]

        def derivative(layer: str) -> Array:
            def middle(image: Array) -> Array:
                found = representations.outputs(model, variables, {**inputs, "image": image}, [layer])[layer]
                return _mixed(_middle(found, model, image))

            return jnp.abs(jax.grad(middle)(inputs["image"])).sum(axis=-1) * valid

        found = [derivative(layer) for layer in layers]
        greatest = jnp.stack([one.max(axis=0) for one in found])
        # Of derivatives scaled to 1: squares of small ones would vanish by rounding.
        scaled = [one / jnp.maximum(one.max(), jnp.finfo(one.dtype).tiny) for one in found]
        return greatest, jnp.stack([jnp.square(one).sum(axis=0) for one in scaled])

    return jax.jit(function, out_shardings=meshes.replicated(mesh))


def width(squares: Float[np.ndarray, "X Y"]) -> float:
    """Two standard deviations along an axis, in pixels, of what is spread over an image; 0 of nothing."""
    total = squares.sum(dtype=np.float64)
    if total == 0:
        return 0.0
    variances = [_variance(squares.sum(axis=axis, dtype=np.float64) / total) for axis in (0, 1)]
    return 2 * float(np.sqrt(np.mean(variances)))


def _variance(weights: Float[np.ndarray, " X"]) -> float:
    places = np.arange(len(weights))
    return float(weights @ (places - weights @ places) ** 2)


def _middle(output: Float[Array, "B *rest"], model: Any, image: Array) -> Float[Array, "B C"]:
    if output.ndim == 4:
        return output[:, output.shape[1] // 2, output.shape[2] // 2]
    if output.ndim == 3:
        return output[:, _middle_token(output.shape[1], getattr(model, "patch_size", None), image.shape[1:3])]
    return output.reshape(len(output), -1)


def _middle_token(length: int, patch_size: int | None, size: tuple[int, ...]) -> int:
    """That of the patch in the middle, if tokens are patches, perhaps after a class token."""
    if not patch_size:
        return length // 2
    rows, columns = (pixels // patch_size for pixels in size)
    return length - rows * columns + rows // 2 * columns + columns // 2


def _mixed(values: Float[Array, "B C"]) -> Float[Array, ""]:
    """A sum with fixed random weights, in which the derivatives of channels do not cancel."""
    weights = np.random.default_rng(0).standard_normal(values.shape[1])
    return (values * jnp.asarray(weights, values.dtype)[None]).sum()
