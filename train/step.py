"""The training state and what happens to it, as pure functions: `init`, `train_step` and `eval_step`.

Random keys are folded from (seed, step), so a run is a function of its config. `compile_steps` turns the functions into
compiled ones on a mesh; runs with equal recipes, such as the seeds of one study, share them.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, UInt32

from train import mesh as meshes
from train import objectives
from train.optimizer import Optimizer

Gather = Callable[[PyTree], PyTree]

INIT, DROPOUT = 0, 1  # Streams of random numbers of one seed.
RANDOM = "random"  # What a mixer draws, and the stream it draws from.


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that decides what a step computes, except the numbers in its state; it hashes.

    Attributes:
        model: the Flax module.
        objective: an `Objective` of `train.objectives`.
        optimizer: how gradients become updates.
        steps: length of the run, which schedules depend on.
    """

    model: nn.Module
    objective: Any
    optimizer: Optimizer
    steps: int

    @functools.cached_property
    def transformation(self) -> optax.GradientTransformation:
        return self.optimizer.transformation(self.steps)


class TrainState(flax.struct.PyTreeNode):
    """Everything that a run must remember.

    Attributes:
        step: updates done.
        seed: of the run.
        params: the parameters.
        model_state: other collections of the model, such as batch statistics.
        opt_state: the state of the Optax chain.
        ema_params: moving average of the parameters, or None.
        first_nonfinite: the update, counted from 1, at which loss, gradient or update was first not finite; 0 if none.
    """

    step: Int[Array, ""]
    seed: UInt32[Array, ""]
    params: PyTree
    model_state: Mapping[str, PyTree]
    opt_state: PyTree
    ema_params: PyTree | None
    first_nonfinite: Int[Array, ""]


def init(recipe: Recipe, seed: UInt32[Array, ""], inputs: Mapping[str, Any]) -> TrainState:
    """A fresh state; `inputs` decide shapes only."""
    key = jax.random.fold_in(jax.random.key(seed), INIT)
    variables = dict(recipe.model.init(key, **inputs, train=False))
    variables.pop("intermediates", None)
    variables.pop(objectives.AUXILIARY, None)
    return start(recipe, seed, variables)


def start(recipe: Recipe, seed: UInt32[Array, ""], variables: Mapping[str, PyTree]) -> TrainState:
    """A state before its first update, of a model with these variables."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=seed,
        params=params,
        model_state={collection: values for collection, values in variables.items() if collection != "params"},
        opt_state=recipe.transformation.init(params),
        # A copy: donated buffers must not be shared.
        ema_params=None if recipe.optimizer.ema_decay is None else jax.tree.map(jnp.copy, params),
        first_nonfinite=jnp.zeros((), jnp.int32),
    )


def train_step(
    recipe: Recipe, state: TrainState, batch: Mapping[str, Array], *, gather: Gather = lambda params: params
) -> tuple[TrainState, objectives.Metrics]:
    """One update. Metrics are (sum, count) pairs, but for `first_nonfinite`, which is the state's.

    `gather` brings parameters that are stored in parts to where layers use them.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(state.seed), DROPOUT), state.step)
    gradients, metrics, model_state = _gradients(recipe, state, batch, key, gather)
    updates, opt_state = recipe.transformation.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)

    gradient_norm = optax.tree.norm(gradients)
    norms = [gradient_norm, optax.tree.norm(updates), optax.tree.norm(model_state)]
    checked = jnp.stack([objectives.mean(metrics["loss"]), *(jnp.asarray(norm, jnp.float32) for norm in norms)])
    is_first = (state.first_nonfinite == 0) & ~jnp.all(jnp.isfinite(checked))
    new_state = state.replace(
        step=state.step + 1,
        params=params,
        model_state=model_state,
        opt_state=opt_state,
        ema_params=_moving_average(recipe, state.ema_params, params),
        first_nonfinite=jnp.where(is_first, state.step + 1, state.first_nonfinite),
    )
    one = jnp.ones(())
    metrics["gradient_norm"] = (gradient_norm, one)
    metrics["learning_rate"] = (
        jnp.asarray(recipe.optimizer.learning_rates(recipe.steps)(state.step), jnp.float32),
        one,
    )
    return new_state, metrics | {"first_nonfinite": new_state.first_nonfinite}


def eval_step(
    recipe: Recipe, state: TrainState, batch: Mapping[str, Array], *, gather: Gather = lambda params: params
) -> objectives.Metrics:
    """The objective's metrics of a batch, nothing dropped out."""
    variables = evaluated_variables(state, gather)
    return recipe.objective.loss(recipe.model, variables, batch, rngs={}, train=False)[1]


def evaluated_variables(state: TrainState, gather: Gather = lambda params: params) -> dict[str, PyTree]:
    """The model's variables as they are evaluated: with the averages of the parameters, where a run keeps them."""
    params = state.params if state.ema_params is None else state.ema_params
    return {"params": gather(params), **state.model_state}


def _gradients(
    recipe: Recipe, state: TrainState, batch: Mapping[str, Array], key: PRNGKeyArray, gather: Gather
) -> tuple[PyTree, objectives.Metrics, Mapping[str, PyTree]]:
    """Gradients of the loss over the batch, its metrics, and the model's other collections after it."""
    if recipe.optimizer.accumulate_steps > 1:
        return _accumulated_gradients(recipe, state, batch, key, gather)

    def loss(params: PyTree) -> tuple[Array, Any]:
        terms, *rest = _judge(recipe, params, state.model_state, batch, _streams(key, key), gather)
        return objectives.total(terms), rest

    gradients, (metrics, model_state) = jax.grad(loss, has_aux=True)(state.params)
    return gradients, metrics, model_state


def _judge(
    recipe: Recipe,
    params: PyTree,
    model_state: Mapping[str, PyTree],
    batch: Mapping[str, Array],
    rngs: Mapping[str, PRNGKeyArray],
    gather: Gather,
) -> tuple[objectives.Terms, objectives.Metrics, Mapping[str, PyTree]]:
    """The terms of the loss in training, metrics, and the model's other collections."""
    variables = {"params": gather(params), **model_state}
    terms, metrics, mutated = recipe.objective.loss(recipe.model, variables, batch, rngs=rngs, train=True)
    return terms, metrics, {**model_state, **mutated}


def _streams(key: PRNGKeyArray, of_part: PRNGKeyArray) -> dict[str, PRNGKeyArray]:
    """Random numbers of one update: a mixer's features; and of each part of its batch: which units are dropped, and
    which tokens are hidden."""
    return {"dropout": of_part, RANDOM: jax.random.fold_in(key, 0), "mask": jax.random.fold_in(of_part, 1)}


def _accumulated_gradients(
    recipe: Recipe, state: TrainState, batch: Mapping[str, Array], key: PRNGKeyArray, gather: Gather
) -> tuple[PyTree, objectives.Metrics, Mapping[str, PyTree]]:
    """Gradients of the loss over the batch, made micro-batch by micro-batch.

    Each term of the loss is summed by itself, and divided by all that it counted (examples, or tokens): so unequal
    micro-batches give the gradient of the whole batch. A mixer's features change between updates only.
    """
    parts = recipe.optimizer.accumulate_steps
    started = {name: state.model_state[name] for name in (RANDOM,) if name in state.model_state}

    def micro(model_state: Any, number: Any, part: Any) -> Any:
        streams = _streams(key, jax.random.fold_in(key, 2 + number))

        def sums(params: PyTree) -> tuple[list[Array], Any]:
            terms, *rest = _judge(recipe, params, {**model_state, **started}, part, streams, gather)
            return [total for total, _ in terms], ([count for _, count in terms], *rest)

        totals, pullback, (counts, *rest) = jax.vjp(sums, state.params, has_aux=True)
        # Of means first, which no narrow type is too small for.
        gradients = [_summed(pullback(_mean_of(totals, term, count))[0], count) for term, count in enumerate(counts)]
        return gradients, counts, *rest

    def accumulate(carry: Any, numbered: Any) -> tuple[Any, None]:
        *sums, model_state = carry
        *new, model_state = micro(model_state, *numbered)
        # A micro-batch that counts nothing adds nothing, whatever its gradient is.
        new[0] = [
            jax.tree.map(lambda leaf, count=count: jnp.where(count > 0, leaf, 0), gradient)
            for gradient, count in zip(*new[:2], strict=True)
        ]
        return (*jax.tree.map(jnp.add, sums, new), model_state), None

    # Micro-batch i takes every parts-th row, so that rows stay on the device that has them.
    split = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), dict(batch))
    first = jax.tree.map(lambda x: x[0], split)
    shapes = jax.eval_shape(micro, dict(state.model_state), 0, first)[:-1]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32)), shapes)
    carry, _ = jax.lax.scan(accumulate, (*zeros, dict(state.model_state)), (jnp.arange(parts), split))
    sums, counts, metrics, model_state = carry
    means = [
        jax.tree.map(lambda leaf, count=count: objectives.mean((leaf, count)), gradient)
        for gradient, count in zip(sums, counts, strict=True)
    ]
    gradients = jax.tree.map(lambda param, *leaves: sum(leaves).astype(param.dtype), state.params, *means)
    return gradients, metrics, model_state


def _mean_of(totals: list[Array], which: int, count: Array) -> list[Array]:
    """The cotangent that asks for the gradient of the mean of one of them."""
    return [jnp.where(number == which, 1 / jnp.maximum(count, 1), 0).astype(x.dtype) for number, x in enumerate(totals)]


def _summed(gradients: PyTree, count: Array) -> PyTree:
    """Gradients of a sum, in at least float32, from those of the mean."""
    return jax.tree.map(lambda leaf: jnp.maximum(count, 1) * leaf, gradients)


def _moving_average(recipe: Recipe, average: PyTree | None, params: PyTree) -> PyTree | None:
    if recipe.optimizer.ema_decay is None:
        return None
    return optax.incremental_update(params, average, 1 - recipe.optimizer.ema_decay)


Spec = tuple[tuple[str, jax.ShapeDtypeStruct], ...]


@dataclasses.dataclass(frozen=True)
class CompiledSteps:
    """The functions above, compiled for one recipe on one mesh.

    Attributes:
        init: seed -> state, each array born in its sharding.
        start: seed, variables of the model, which are donated -> state.
        train: state, batch -> state, metrics; the given state is donated.
        evaluate: state, batch -> metrics.
        abstract_state: shapes, types and shardings of a state.
    """

    init: Callable[[int], TrainState]
    start: Callable[[int, Mapping[str, PyTree]], TrainState]
    train: Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, objectives.Metrics]]
    evaluate: Callable[[TrainState, Mapping[str, Array]], objectives.Metrics]
    abstract_state: TrainState


def abstract_state(recipe: Recipe, spec: Mapping[str, jax.ShapeDtypeStruct]) -> TrainState:
    """Shapes and types of a state, nothing allocated; `spec` describes a training batch."""
    return jax.eval_shape(functools.partial(_init_from_spec, recipe, dict(spec)), jnp.zeros((), jnp.uint32))


def _init_from_spec(recipe: Recipe, spec: Mapping[str, jax.ShapeDtypeStruct], seed: UInt32[Array, ""]) -> TrainState:
    inputs = objectives.model_inputs(recipe.model, spec)
    # One example is enough to give every parameter its shape.
    return init(recipe, seed, {key: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype) for key, leaf in inputs.items()})


def compile_steps(recipe: Recipe, mesh: Mesh, spec: Mapping[str, jax.ShapeDtypeStruct]) -> CompiledSteps:
    """Compiled steps, the same object for equal arguments; `spec` describes a training batch."""
    return _compile_steps(recipe, mesh, tuple(sorted(spec.items())))


def _quick_compilation(mesh: Mesh) -> dict[str, int]:
    """For what runs once: a random draw for each parameter takes XLA on CPU longer to optimise than to carry out."""
    return {"xla_backend_optimization_level": 0} if mesh.devices.flat[0].platform == "cpu" else {}


@functools.lru_cache(maxsize=16)
def _compile_steps(recipe: Recipe, mesh: Mesh, spec: Spec) -> CompiledSteps:
    shapes = abstract_state(recipe, dict(spec))
    shardings = meshes.state_shardings(mesh, shapes)
    everywhere = meshes.replicated(mesh)
    gather = functools.partial(meshes.gather_for_use, mesh)
    once = {"out_shardings": shardings, "compiler_options": _quick_compilation(mesh)}
    fresh = jax.jit(functools.partial(_init_from_spec, recipe, dict(spec)), **once)
    given = jax.jit(functools.partial(start, recipe), donate_argnums=1, **once)
    return CompiledSteps(
        init=lambda seed: fresh(jnp.uint32(seed)),
        start=lambda seed, variables: given(jnp.uint32(seed), variables),
        train=jax.jit(
            functools.partial(train_step, recipe, gather=gather),
            donate_argnums=0,
            out_shardings=(shardings, everywhere),
        ),
        evaluate=jax.jit(functools.partial(eval_step, recipe, gather=gather), out_shardings=everywhere),
        abstract_state=jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            shardings,
        ),
    )
