"""How far back in time does the loss reach? Its gradient by the input at each lag (Pascanu et al., 2013,
https://arxiv.org/abs/1211.5063).
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
from jaxtyping import Array, Float, Int

from train import mesh as meshes
from train import objectives
from train.errors import UserError
from train.evaluators import Evaluation, Scheduled
from train.step import TrainState, abstract_state, evaluated_variables

if TYPE_CHECKING:
    from train.experiment import Experiment

STEPS = ("tokens", "sequence", "audio")  # Inputs whose first axis is time.
# Objectives that judge one output, or one for each step; how many of the last steps nothing follows that they judge.
UNJUDGED = {"classification": 0, "regression": 0, "language_modeling": 1}
TINY = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Evaluator(Scheduled):
    """Reports `gradient_lag_K` for K of 0, 1, 2, 4, 8, … steps, and `gradient_slope`.

    That is the norm of the derivative of an example's loss by its input K steps before the last, of tokens by their
    embedding: the mean over the examples that are so long, 0 if none is. Where each step has an output, only the last
    that is judged counts, and lags are from its own step. The slope is that of the logarithm over all lags, by least
    squares; a norm of zero counts as the smallest number of its type.
    """

    def check(self, path: str, experiment: "Experiment") -> None:
        super().check(path, experiment)
        steps_of(path, experiment)
        objective, name = experiment.config.objective.name, experiment.config.model.name
        if objective not in UNJUDGED:
            raise UserError(f"{path}: {objective} has no last output to start from; use {', '.join(UNJUDGED)}.")
        variables = evaluated_variables(abstract_state(experiment.recipe, experiment.spec))
        try:
            jax.eval_shape(self._gradients(path, experiment), variables, experiment.spec)
        except ValueError as error:
            raise UserError(f"{path}: {name} {error}") from error

    def reports(self, experiment: "Experiment") -> tuple[str, ...]:
        name, _ = steps_of("gradient_flow", experiment)
        longest = experiment.spec[name].shape[1] - UNJUDGED[experiment.config.objective.name]
        return (*(f"gradient_lag_{lag}" for lag in lags_shown(longest)), "gradient_slope")

    def evaluate(self, evaluation: Evaluation) -> dict[str, float]:
        function = compiled(self._gradients("gradient_flow", evaluation.experiment), evaluation.mesh)
        batches = [jax.device_get(function(evaluation.state, batch)) for batch in evaluation.batches(self.split)]
        norms, lags = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*batches, strict=True))
        by_lag, slope = summary(norms[lags >= 0], lags[lags >= 0])
        names = self.reports(evaluation.experiment)[:-1]
        found = {name: float(by_lag.get(int(name.rpartition("_")[2]), 0.0)) for name in names}
        return {**found, "gradient_slope": slope}

    @staticmethod
    def _gradients(path: str, experiment: "Experiment") -> "Gradients":
        unjudged = UNJUDGED[experiment.config.objective.name]
        return Gradients(experiment.model, experiment.objective, *steps_of(path, experiment), unjudged)


def steps_of(path: str, experiment: "Experiment") -> tuple[str, str | None]:
    """The input of a network that is steps in time, and the entry that says which are real, if there is one.

    Raises:
        UserError: beginning with `path`, the network reads no such input, or more than that.
    """
    inputs = experiment.model_inputs(experiment.spec)
    found = [name for name in STEPS if name in inputs]
    if len(found) != 1 or any(name not in (*STEPS, "mask", f"{found[0]}_mask") for name in inputs):
        name, given = experiment.config.model.name, ", ".join(inputs)
        raise UserError(f"{path}: {name} must read one sequence alone ({', '.join(STEPS)}); here it reads {given}.")
    masks = [mask for mask in ("mask", f"{found[0]}_mask") if mask in inputs]
    return found[0], masks[0] if masks else None


def lags_shown(length: int) -> list[int]:
    """0, and the powers of two, below `length`."""
    return [0, *(2**power for power in range(max(length - 1, 0).bit_length()))]


def summary(norms: Float[np.ndarray, " N"], lags: Int[np.ndarray, " N"]) -> tuple[dict[int, float], float]:
    """The mean norm by lag, and the slope of its logarithm; that of a single lag is 0."""
    counts = np.bincount(lags)
    reached = np.flatnonzero(counts)
    means = np.bincount(lags, norms)[reached] / counts[reached]
    slope = np.polyfit(reached, np.log(np.maximum(means, TINY)), 1)[0] if len(reached) > 1 else 0.0
    return dict(zip(reached.tolist(), means.tolist(), strict=True)), float(slope)


@dataclasses.dataclass(frozen=True)
class Gradients:
    """The function: variables, batch -> by example and step [B, T] the norm of the gradient, and the lag, -1 for none.

    Attributes:
        model, objective: of the run.
        steps, mask: as `steps_of` says.
        unjudged: how many of the last steps have no output that is judged, where each has one.
    """

    model: nn.Module
    objective: Any
    steps: str
    mask: str | None
    unjudged: int

    def __call__(self, variables: Mapping[str, Any], batch: Mapping[str, Array]) -> tuple[Array, Array]:
        """Raises ValueError if there is no embedding, or outputs are of other steps than inputs."""
        size, length = batch[self.steps].shape[:2]
        real = jnp.ones((size, length), bool) if self.mask is None else batch[self.mask]
        has_steps, shape = self.shapes(variables, batch)
        last = length - 1 - jnp.argmax(real[:, ::-1], axis=1) - (self.unjudged if has_steps else 0)
        is_last = jnp.arange(length)[None] == last[:, None]

        def loss(change: Array) -> Array:
            given = batch if self.steps == "tokens" else {**batch, self.steps: batch[self.steps] + change}
            with nn.intercept_methods(self.changed(change, is_last if has_steps else None)):
                total, _ = self.objective.loss(self.model, variables, given, rngs={}, train=False)[1]["loss"]
            return total

        slopes = jax.grad(loss)(jnp.zeros(shape))
        norms = jnp.sqrt(jnp.square(slopes.reshape(size, length, -1)).sum(axis=-1))
        lags = last[:, None] - jnp.arange(length)[None]
        counted = real & (lags >= 0) & objectives.valid_rows(batch)[:, None]
        return norms, jnp.where(counted, lags, -1)

    def shapes(self, variables: Mapping[str, Any], batch: Mapping[str, Array]) -> tuple[bool, tuple[int, ...]]:
        """Whether each step has an output, and the shape of what gradients are taken by."""
        embedded: list[tuple[int, ...]] = []

        def note(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            output = method(*args, **kwargs)
            if is_embedding(context):
                embedded.append(output.shape)
            return output

        with nn.intercept_methods(note):
            apply = functools.partial(self.model.apply, train=False)
            output = jax.eval_shape(apply, variables, **objectives.model_inputs(self.model, batch)).shape
        length = batch[self.steps].shape[1]
        if len(output) > 2 and output[1] != length:
            raise ValueError(f"puts out {output[1]} steps for {length}, so it is not known which belong together")
        if self.steps == "tokens" and not embedded:
            raise ValueError("has no embedding of its tokens by which a derivative could be taken")
        return len(output) > 2, embedded[0] if self.steps == "tokens" else batch[self.steps].shape

    def changed(self, change: Array, is_last: Array | None) -> Callable[..., Any]:
        """Adds `change` to the first embedding, where tokens are read, and lets no gradient pass but that of the last
        step's output, where each has one."""
        waiting = [self.steps == "tokens"]

        def intercept(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            output = method(*args, **kwargs)
            if is_embedding(context) and waiting[0]:
                waiting[0] = False
                return output + change
            if context.module.path or context.method_name != "__call__" or is_last is None:
                return output
            chosen = is_last.reshape(*is_last.shape, *(1,) * (output.ndim - 2))
            return jnp.where(chosen, output, jax.lax.stop_gradient(output))

        return intercept


def is_embedding(context: Any) -> bool:
    return isinstance(context.module, nn.Embed) and context.method_name == "__call__"


@functools.lru_cache(maxsize=8)
def compiled(gradients: Gradients, mesh: Mesh) -> Callable[[TrainState, Mapping[str, Array]], tuple[Array, Array]]:
    """A compiled function, the same object for equal arguments: state, batch -> norms, lags, whole on every process."""
    gather = functools.partial(meshes.gather_for_use, mesh)

    def function(state: TrainState, batch: Mapping[str, Array]) -> tuple[Array, Array]:
        return gradients(evaluated_variables(state, gather), batch)

    return jax.jit(function, out_shardings=meshes.replicated(mesh))
