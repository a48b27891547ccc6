"""How alike are what the layers of one network make of the same examples? Centred kernel alignment.

Linear CKA (Kornblith et al., 2019, https://arxiv.org/abs/1905.00414) over minibatches, with the unbiased estimator of
HSIC, as in Nguyen, Raghu and Kornblith (2020, https://arxiv.org/abs/2010.15327, section 3): its expectation does not
depend on the size of the batches. It is 1 where two layers differ by a rotation, a scale and a shift.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

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

FEWEST = 4  # Examples that the unbiased estimator needs.


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `cka/A/B` of every two layers, a slash in a layer's name as a dot, and of neighbours the mean, as
    `cka_adjacent_mean`, and the standard deviation, `cka_adjacent_spread`.

    A layer that puts out the same for every example has nothing in common with any other: 0.

    Attributes:
        layers: which, as `train.representations` names them; empty is all.
    """

    layers: tuple[str, ...] = ()

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        layers = self._layers(f"{path}.layers", experiment)
        if len(layers) < 2:
            raise UserError(f"{path}.layers: it takes two to compare, and there is only {', '.join(layers)}.")
        size, batch = len(experiment.data.split(self.split)), experiment.data.batch_size
        if min(size, batch) < FEWEST:
            raise UserError(
                f"{path}: needs batches of {FEWEST} examples or more; the split {self.split!r} has {size}, and "
                f"config.data.batch_size is {batch}."
            )

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        pairs = itertools.combinations(self._layers("layers", experiment), 2)
        return (*(_name(*pair) for pair in pairs), "cka_adjacent_mean", "cka_adjacent_spread")

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        experiment = evaluation.experiment
        layers = self._layers("layers", experiment)
        function = compiled(experiment.model, evaluation.mesh, layers)
        found = (jax.device_get(function(evaluation.state, batch)) for batch in evaluation.batches(self.split))
        parts = [grams[:, valid][:, :, valid] for grams, valid in found if valid.sum() >= FEWEST]
        values = alignment(np.mean([unbiased_hsic(part) for part in parts], axis=0))
        pairs = itertools.combinations(range(len(layers)), 2)
        numbers = {_name(layers[first], layers[second]): float(values[first, second]) for first, second in pairs}
        adjacent = np.diagonal(values, offset=1)
        return numbers | {"cka_adjacent_mean": float(adjacent.mean()), "cka_adjacent_spread": float(adjacent.std())}

    def _layers(self, field: str, experiment: "Experiment") -> tuple[str, ...]:
        state = abstract_state(experiment.recipe, experiment.spec)
        inputs = experiment.model_inputs(experiment.spec)
        known = representations.names(experiment.model, evaluated_variables(state), inputs)
        return representations.chosen(field, self.layers, known)


@functools.lru_cache(maxsize=8)
def compiled(
    model: nn.Module, mesh: Mesh, layers: tuple[str, ...]
) -> Callable[[TrainState, Mapping[str, Array]], tuple[Array, Array]]:
    """A compiled function, the same object for equal arguments: state, batch -> Gram matrices [L, B, B] of what the
    layers put out, less its mean over the valid rows, and which rows are valid [B]; whole on every process.

    The estimator does not mind that mean; taken away, it does not drown the differences in rounding.
    """
    gather = functools.partial(meshes.gather_for_use, mesh)

    def function(state: TrainState, batch: Mapping[str, Array]) -> tuple[Array, Array]:
        valid = objectives.valid_rows(batch)
        inputs = objectives.model_inputs(model, batch)
        found = representations.outputs(model, evaluated_variables(state, gather), inputs, layers)
        return jnp.stack([_gram(found[name], valid) for name in layers]), valid

    return jax.jit(function, out_shardings=meshes.replicated(mesh))


def unbiased_hsic(grams: Float[np.ndarray, "L B B"]) -> Float[np.ndarray, "L L"]:
    """The Hilbert-Schmidt independence criterion of every two of L kernels on B examples, without bias (Song et al.,
    2012, eq. 5; eq. 3 of Nguyen et al., 2020).
    """
    count = grams.shape[1]
    kernels = grams.astype(np.float64) * (1 - np.eye(count))
    rows, totals = kernels.sum(axis=2), kernels.sum(axis=(1, 2))
    flat = kernels.reshape(len(grams), -1)
    products = flat @ flat.T + np.outer(totals, totals) / ((count - 1) * (count - 2)) - 2 / (count - 2) * rows @ rows.T
    return products / (count * (count - 3))


def alignment(hsic: Float[np.ndarray, "L L"]) -> Float[np.ndarray, "L L"]:
    """CKA of every two of L layers from their HSIC: HSIC(K, L) / √(HSIC(K, K) HSIC(L, L))."""
    own = np.diagonal(hsic)
    sizes = np.sqrt(np.outer(own, own).clip(min=0))
    return np.divide(hsic, sizes, out=np.zeros_like(hsic), where=(own > 0)[:, None] & (own > 0))


def _gram(output: Float[Array, "B *rest"], valid: Array) -> Float[Array, "B B"]:
    values = output.reshape(len(output), -1).astype(jnp.float32)
    weights = valid[:, None].astype(jnp.float32)
    values = (values - (values * weights).sum(axis=0, keepdims=True) / jnp.maximum(weights.sum(), 1)) * weights
    return values @ values.T


def _name(first: str, second: str) -> str:
    return f"cka/{first.replace('/', '.')}/{second.replace('/', '.')}"
