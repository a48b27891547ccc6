"""Runs of one kind, trained together: the update of one run, mapped over all of them on a device and over devices.

Seeds of a variant are of one kind, and so are variants that differ in their data or in their learning rate only. Each
member stays a run of its own, with its folder, log, evaluations and checkpoints, and ends where it would have
ended alone, to rounding. An interrupted one goes on alone, from its checkpoint, as any run does.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import NamedSharding
from jaxtyping import Array, PyTree
from ml_collections import ConfigDict

from train import loop, mesh, writers
from train.compare import timing
from train.data.feeding import on_host
from train.errors import Diverged
from train.experiment import Experiment
from train.mesh import MeshShape
from train.signals import Signals
from train.step import CompiledSteps, Recipe, TrainState, train_step

TIMED_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class CompiledPopulation:
    """The update of all members, compiled.

    Attributes:
        sharding: of arrays with a leading dimension for the members.
        train: states, batches, learning rates -> states, metrics of each member; the given states are donated.
    """

    sharding: NamedSharding
    train: Callable[[TrainState, Mapping[str, Any], Any], tuple[TrainState, list[Any]]]


def compile_population(recipe: Recipe, size: int) -> CompiledPopulation:
    """Compiled for so many members, on all devices that divide them evenly; the same whatever the learning rate is."""
    return _compile_population(_with_rate(recipe, 0.0), size)


@functools.lru_cache(maxsize=4)
def _compile_population(recipe: Recipe, size: int) -> CompiledPopulation:
    over = mesh.members_mesh(size)
    sharding = mesh.by_member(over)

    def one(state: TrainState, batch: Mapping[str, Any], rate: Array) -> Any:
        return train_step(_with_rate(recipe, rate), state, batch)

    update = mesh.map_members(one, over)

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=(sharding, None))
    def train(states: TrainState, batches: Mapping[str, Any], rates: Array) -> tuple[TrainState, list[Any]]:
        states, metrics = update(states, batches, rates)
        return states, [jax.tree.map(lambda leaf, member=member: leaf[member], metrics) for member in range(size)]

    def train_on_mesh(states: TrainState, batches: Mapping[str, Any], rates: Array) -> tuple[TrainState, list[Any]]:
        with jax.set_mesh(over):
            return train(states, batches, rates)

    return CompiledPopulation(sharding, train_on_mesh)


def _with_rate(recipe: Recipe, rate: Any) -> Recipe:
    return dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, learning_rate=rate))


def kind(experiment: Experiment) -> Hashable | None:
    """What runs must have in common to be trained together: the update, the shapes of a batch, and the precision.

    None is of a run that is trained alone: its arrays are not always alike, or cut otherwise.
    """
    cuts = dataclasses.replace(experiment.mesh_shape, data=-1)
    if jax.process_count() > 1 or cuts != MeshShape() or experiment.data.length_buckets:
        return None
    spec = tuple(sorted(experiment.spec.items()))
    return _with_rate(experiment.recipe, 0.0), spec, experiment.run.matmul_precision


def gain(built: Experiment, size: int) -> float:
    """How many times faster an update of `size` members is than as many updates one by one, measured here and now."""
    alone = timing.steps_of(built)
    compiled = compile_population(built.recipe, size)
    rates = _rates([built] * size, compiled)

    def update(states: TrainState, batches: Mapping[str, Any]) -> tuple[TrainState, list[Any]]:
        with jax.default_matmul_precision(built.run.matmul_precision):
            return compiled.train(states, batches, rates)

    states, batches = (_stacked([one] * size, compiled) for one in (alone.state, alone.batch))
    return size * timing.beside(alone, timing.Steps(update, states, batches), TIMED_ROUNDS).value


def train(
    configs: Sequence[ConfigDict], folders: Sequence[epath.Path], *, writer: writers.Writer | None = None
) -> list[str | None]:
    """Trains runs of one kind, none of which has begun.

    Args:
        configs: resolved configs.
        folders: of the runs.
        writer: gets every row of the first run's log.

    Returns:
        For each run what ended it early, None for one that is finished.

    Raises:
        UserError: as `train.loop.train`.
        Stopped: SIGTERM or SIGINT; all states are saved.
    """
    listeners = [writer, *[None] * (len(configs) - 1)]
    members = [loop.prepare(*each) for each in zip(configs, folders, listeners, strict=True)]
    for member in members:
        member.describe()
    with members[0].settings(), Signals() as signals, contextlib.ExitStack() as stack:
        states = [stack.enter_context(member.opened(len(members))) for member in members]
        errors = _advance(members, states, signals)
    for member, error in zip(members, errors, strict=True):
        if error is None:
            member.finish(len(members))
    return errors


def _advance(members: Sequence[loop.Training], begun: list[TrainState], signals: Signals) -> list[str | None]:
    """All updates of all members; one that diverges is left out of all that follows but the arithmetic."""
    first = members[0]
    compiled = compile_population(first.experiment.recipe, len(members))
    rates = _rates([member.experiment for member in members], compiled)
    states = _stacked(begun, compiled)
    begun.clear()
    errors: list[str | None] = [None] * len(members)
    for done, batches in enumerate(zip(*(on_host(member.batches()) for member in members), strict=True), 1):
        states, metrics = compiled.train(states, _stacked(batches, compiled), rates)
        stop = signals.stop_after(done)
        for number, member in enumerate(members):
            if errors[number] is None:
                pause = stop or member.is_due(done)
                state = functools.partial(_member, states, number, first.compiled) if pause else None
                errors[number] = _followed(member, done, metrics[number], state, stop)
        if all(errors):
            break
        if stop and done < first.steps:
            raise [member.stopped(done) for member, error in zip(members, errors, strict=True) if error is None][0]
    return errors


def _followed(
    member: loop.Training, done: int, metrics: Any, state: Callable[[], TrainState] | None, stop: bool
) -> str | None:
    """Notes an update of one member, evaluates and saves where that is due, and returns why it cannot go on."""
    try:
        member.meter.add(done, metrics)
        if state is not None:
            member.pause(state(), done, stop)
    except Diverged as ending:
        return f"diverged: {ending}"
    return None


def _rates(members: Sequence[Experiment], compiled: CompiledPopulation) -> Array:
    rates = [member.recipe.optimizer.learning_rate for member in members]
    return jax.device_put(np.asarray(rates, np.float32), compiled.sharding)


def _stacked(trees: Iterable[PyTree], compiled: CompiledPopulation) -> PyTree:
    """One tree with a leading dimension for the members, on their devices."""
    stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)
    return jax.device_put(stacked, compiled.sharding)


def _member(states: TrainState, number: int, alone: CompiledSteps) -> TrainState:
    """The state of one member as it would lie on the mesh if it were trained alone."""
    shardings = jax.tree.map(lambda leaf: leaf.sharding, alone.abstract_state)
    return jax.device_put(jax.tree.map(lambda leaf: leaf[number], states), shardings)
