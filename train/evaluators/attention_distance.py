"""How far do the heads of a Vision Transformer look?

The distance between a patch and those that it attends to, weighted by attention (Dosovitskiy et al., 2020, Fig. 7,
https://arxiv.org/abs/2010.11929; Raghu et al., 2021, Fig. 3, https://arxiv.org/abs/2108.08810): the receptive field
that a head has chosen.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from archs import vit
from train import mesh as meshes
from train import objectives, representations
from train.errors import UserError
from train.evaluators import Evaluation, Scheduled
from train.step import TrainState, abstract_state, evaluated_variables

if TYPE_CHECKING:
    from train.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `attention_distance/LAYER/head_N`, in patches, the mean over the patches of all images of a split.

    A slash in a layer's name is a dot. Beside them stand `attention_distance_uniform`, that of a head which attends to
    all patches alike, and `attention_distance_spread`, the standard deviation over all heads of all layers. A class
    token has no place: it is left out, and the weights of the patches are scaled to sum to 1.
    """

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        name = experiment.config.model.name
        if not isinstance(experiment.model, vit.Model):
            raise UserError(f"{path}: {name} does not attend to patches of an image; vit does.")
        if not self._heads(experiment):
            mixer = experiment.config.model.mixer
            raise UserError(f"{path}: the mixer {mixer} makes no weights of attention; dense and synthesizer do.")

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        return (*self._heads(experiment), "attention_distance_uniform", "attention_distance_spread")

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        experiment = evaluation.experiment
        function = compiled(experiment.model, evaluation.mesh, self._layers(experiment))
        found = [jax.device_get(function(evaluation.state, batch)) for batch in evaluation.batches(self.split)]
        values = np.concatenate([distances[:, :, valid] for distances, valid in found], axis=2).mean(axis=2)
        numbers = dict(zip(self._heads(experiment), values.ravel().tolist(), strict=True))
        uniform = float(_distances(experiment.model, experiment.spec["image"].shape[1:3]).mean())
        return numbers | {"attention_distance_uniform": uniform, "attention_distance_spread": float(values.std())}

    def _heads(self, experiment: "Experiment") -> list[str]:
        """What is reported of each head, layer by layer."""
        return [
            f"attention_distance/{layer.replace('/', '.')}/head_{head}"
            for layer in self._layers(experiment)
            for head in range(experiment.model.num_heads)
        ]

    def _layers(self, experiment: "Experiment") -> tuple[str, ...]:
        """Those with weights of attention."""
        variables = evaluated_variables(abstract_state(experiment.recipe, experiment.spec))
        inputs = experiment.model_inputs(experiment.spec)
        layers = representations.names(experiment.model, variables, inputs)
        weights = functools.partial(representations.attention, experiment.model, layers=layers)
        found = jax.eval_shape(weights, variables, inputs)
        return tuple(layer for layer in layers if layer in found)


@functools.lru_cache(maxsize=8)
def compiled(
    model: vit.Model, mesh: Mesh, layers: tuple[str, ...]
) -> Callable[[TrainState, Mapping[str, Array]], tuple[Array, Array]]:
    """A compiled function, the same object for equal arguments: state, batch -> distances [L, H, B], and which rows are
    examples [B]; whole on every process.
    """
    gather = functools.partial(meshes.gather_for_use, mesh)

    def function(state: TrainState, batch: Mapping[str, Array]) -> tuple[Array, Array]:
        inputs = objectives.model_inputs(model, batch)
        weights = representations.attention(model, evaluated_variables(state, gather), inputs, layers)
        distances = jnp.asarray(_distances(model, inputs["image"].shape[1:3]))
        found = jnp.stack([mean_distance(weights[layer], distances) for layer in layers])
        return found.swapaxes(1, 2), objectives.valid_rows(batch)

    return jax.jit(function, out_shardings=meshes.replicated(mesh))


def mean_distance(weights: Float[Array, "B H T T"], distances: Float[Array, "P P"]) -> Float[Array, "B H"]:
    """Of the last P of T tokens, the patches: the mean over patches of the weighted mean distance to the others."""
    patches = weights[..., -len(distances) :, -len(distances) :]
    weighted = jnp.einsum("bhts,ts->bht", patches, distances) / patches.sum(axis=-1)
    return weighted.mean(axis=-1)


def grid_distances(rows: int, columns: int) -> Float[np.ndarray, "P P"]:
    """Euclidean distances between the patches of a grid in reading order, in patches."""
    places = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1).astype(np.float32)
    return np.linalg.norm(places[:, None] - places[None], axis=-1)


def _distances(model: nn.Module, size: tuple[int, ...]) -> Float[np.ndarray, "P P"]:
    return grid_distances(*(pixels // model.patch_size for pixels in size))  # type: ignore[attr-defined]
