"""The one loop: batch -> step -> state and metrics; now and then evaluators and a checkpoint.

It reads metrics one interval late, so that the device never waits for the host, except before a checkpoint: no state is
saved before all metrics that led to it were read as finite.
"""

import contextlib
import dataclasses
import functools
import json
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from train import config as configs
from train import evaluators, pretrained, provenance, writers
from train import mesh as meshes
from train import workdir as workdirs
from train.checkpoint import Checkpoints
from train.data import TrainingBatches
from train.data.feeding import on_devices
from train.energy import Energy
from train.errors import Diverged, Stopped, UserError
from train.experiment import BATCH, TOKENIZER, Experiment, build, described, saved_tokenizer
from train.meter import Meter
from train.profile import Profile
from train.signals import Signals
from train.step import CompiledSteps, TrainState, abstract_state, compile_steps


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended, as written to `result.json`.

    Attributes:
        digest: of the config.
        step: updates done.
        metrics: the last value of every number that evaluators report.
        step_time: seconds for one update, on average after the first.
        wall_time: seconds from start to end of the (last part of the) run, compilation included.
        joules: what the machine drew in that time, by `cpu` and `gpu`, as far as it has meters; see `train.energy`.
    """

    digest: str
    step: int
    metrics: Mapping[str, float]
    step_time: float | None
    wall_time: float
    joules: Mapping[str, float] = dataclasses.field(default_factory=dict)


def train(
    config: ConfigDict,
    workdir: str | epath.Path,
    *,
    writer: writers.Writer | None = None,
    profile: tuple[int, int] | None = None,
) -> Result:
    """Carries out the run that `config` describes in `workdir`, resuming one that was interrupted there.

    Args:
        config: a resolved config.
        workdir: a folder, local or in a bucket; it gets config.json, batch.json, provenance.json, metrics.jsonl,
            checkpoints/, tokenizer.json if the data are texts and, at the end, result.json. If that is there already,
            nothing is done.
        writer: gets every row of the log, besides metrics.jsonl.
        profile: first and last update that a trace in `workdir/profile` covers.
    Raises:
        UserError: the config is wrong, or `workdir` holds a run with another one.
        Diverged: a loss, gradient or update was not finite.
        Stopped: SIGTERM or SIGINT; the state is saved.
    """
    folder = workdirs.at(workdir)
    if profile is not None and profile[1] > config.steps:
        raise UserError(f"--profile: {profile[0]}:{profile[1]} ends after the last of {config.steps} steps.")
    training = prepare(config, folder, writer, profile)
    if (result := finished(folder, config)) is not None:
        return result
    training.describe()
    with training.settings():
        return training.run()


def prepare(
    config: ConfigDict,
    folder: epath.Path,
    writer: writers.Writer | None = None,
    profile: tuple[int, int] | None = None,
) -> "Training":
    """Builds a run and checks all that can be checked before anything is written.

    Raises:
        UserError: the config is wrong, or `folder` holds a run with another one.
    """
    experiment = build(config, saved_tokenizer(folder))
    mesh = experiment.mesh_shape.build()
    meshes.check_batch_size(mesh, experiment.data.batch_size, experiment.recipe.optimizer.accumulate_steps)
    writers.check(experiment.run.writers)
    workdirs.check_shared(folder)
    _refuse_other_run(folder, config)
    return Training(experiment, mesh, folder, writer, profile)


def finished(folder: epath.Path, config: ConfigDict) -> Result | None:
    """The result of `config` in `folder`, if that run is complete."""
    result = _read_result(folder)
    return result if result is not None and result.digest == configs.digest(config) else None


def _read_result(folder: epath.Path) -> Result | None:
    """What `result.json` says; None if it is not there or not whole."""
    try:
        return Result(**json.loads((folder / "result.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


class Training:
    """One run from its start, or from its last checkpoint, to its end.

    `train` does it all; whoever trains several runs at once (`train.compare.population`) does what `run` does, for
    each of them, with updates of its own.
    """

    def __init__(
        self,
        experiment: Experiment,
        mesh: jax.sharding.Mesh,
        folder: epath.Path,
        console: writers.Writer | None,
        profile: tuple[int, int] | None,
    ):
        self.started = time.monotonic()
        self.energy = Energy()
        self.experiment = experiment
        self.config = configs.to_json(experiment.config)
        self.mesh = mesh
        self.folder = folder
        self.console = console
        self.profile = profile
        self.steps = experiment.run.steps
        self.evaluations: dict[str, float] = {}

    @functools.cached_property
    def compiled(self) -> CompiledSteps:
        return compile_steps(self.experiment.recipe, self.mesh, self.experiment.spec)

    def describe(self) -> None:
        """Writes what the run is into its folder, unless its weights do not fit."""
        _check_start(self.folder, self.experiment)
        _describe_run(self.folder, self.experiment)

    @contextlib.contextmanager
    def settings(self) -> Iterator[None]:
        """Within it, arrays are on the run's mesh and products in its precision."""
        with jax.set_mesh(self.mesh), jax.default_matmul_precision(self.experiment.run.matmul_precision):
            yield

    def run(self) -> Result:
        with Signals() as signals, self.opened() as state, Profile(self.folder, self.profile) as profiler:
            self._advance(state, signals, profiler)
        return self.finish()

    @contextlib.contextmanager
    def opened(self, together: int = 1) -> Iterator[TrainState]:
        """The state that the run goes on from; within it, the log and the checkpoints are open.

        Args:
            together: runs that are trained at the same time, which share the clock.
        """
        with Checkpoints(self.folder, self.experiment.checkpoint, self.config) as self.checkpoints:
            state = self.checkpoints.restore(self.compiled.abstract_state)
            if state is None:
                state = self._start()
            done = int(state.step)
            self._recall_evaluations(done)
            with writers.Writers(self._writers(done)) as self.writer:
                self.meter = Meter(self.experiment, self.writer, self.checkpoints, together)
                yield state

    def _start(self) -> TrainState:
        """The state before the first update."""
        run = self.experiment.run
        state = self.compiled.init(run.seed)
        if run.init_from is None:
            return state
        variables = {"params": state.params, **state.model_state}
        del state  # before there is another
        loaded = pretrained.load(run.init_from, self.experiment.model, variables, run.init_head)
        return self.compiled.start(run.seed, loaded)

    def _writers(self, done: int) -> list[writers.Writer]:
        if jax.process_index() != 0:
            return []
        extra = [writers.build(name, self.folder, done, self.config) for name in self.experiment.run.writers]
        return [writers.JsonLines(self.folder, done), *extra, *([self.console] if self.console else [])]

    def _recall_evaluations(self, done: int) -> None:
        """Numbers measured before the run was interrupted."""
        for row in writers.read_rows(self.folder):
            if row["step"] <= done:
                self.evaluations |= {key: value for key, value in row.items() if _is_evaluation(key)}

    def batches(self) -> TrainingBatches:
        """What this process reads of the batches of all updates."""
        rows = meshes.local_rows(self.mesh, self.experiment.data.batch_size)
        return TrainingBatches(self.experiment.data, self.experiment.view, self.experiment.run.seed, self.steps, rows)

    def _advance(self, state: TrainState, signals: Signals, profiler: Profile) -> None:
        """All updates that are left; where none are, what evaluators added since then would have measured."""
        done = int(state.step)
        if done == self.steps and (added := self._unmeasured()):
            self._evaluate(added, state, done)
        for batch in on_devices(self.batches(), self.mesh, start=done):
            profiler.before(done)
            state, metrics = self.compiled.train(state, batch)
            done += 1
            self.meter.add(done, metrics)
            profiler.after(done, metrics)
            stop = signals.stop_after(done)
            if stop or self.is_due(done):
                self.pause(state, done, stop)
            if stop and done < self.steps:
                raise self.stopped(done)

    def _unmeasured(self) -> dict[str, Any]:
        """Evaluators whose numbers the log does not hold."""
        found = self.evaluations.keys()
        return {
            name: evaluator
            for name, evaluator in self.experiment.evaluators.items()
            if not {f"{evaluator.split}/{number}" for number in evaluator.reports(self.experiment)} <= found
        }

    def is_due(self, done: int) -> bool:
        """Whether something is evaluated or saved after so many updates."""
        return bool(self._due(done)) or self.experiment.checkpoint.due(done, self.steps)

    def _due(self, done: int) -> dict[str, Any]:
        return {name: e for name, e in self.experiment.evaluators.items() if evaluators.due(e, done, self.steps)}

    def pause(self, state: TrainState, done: int, stop: bool) -> None:
        """What is due after an update: evaluations and a checkpoint; that also if a signal ends the run."""
        self.meter.flush()
        self.energy.joules()  # Often enough that no counter goes round unseen.
        due = self._due(done)
        try:
            measured = self._evaluate(due, state, done) if due else {}
        except UserError:  # Of data that nobody had looked at: what was learned until then must not be lost.
            if jax.process_count() == 1:
                self.save(done, state, {})
                self.checkpoints.wait()
            raise
        if stop or self.experiment.checkpoint.due(done, self.steps):
            self.save(done, state, measured)
        self.meter.resume()

    def save(self, done: int, state: TrainState, measured: Mapping[str, float]) -> None:
        """Writes a checkpoint, and before it the log until there."""
        self.writer.flush()
        self.checkpoints.save(done, state, measured)

    def stopped(self, done: int) -> Stopped:
        """Waits until the state is saved; then a signal may end the run."""
        self.checkpoints.wait()
        return Stopped(f"saved at step {done} in {self.folder}; resume with the same command")

    def _evaluate(self, due: Mapping[str, Any], state: TrainState, done: int) -> dict[str, float]:
        evaluation = evaluators.Evaluation(self.experiment, self.mesh, self.compiled.evaluate, state, self.folder)
        numbers = evaluation.run(due)
        for name, value in numbers.items():
            if not math.isfinite(value):
                newest = self.checkpoints.newest()
                raise Diverged(f"{name} is {value} after step {done}; last good checkpoint: {newest}")
        self.evaluations |= numbers
        self.writer.write({"step": done, **numbers})
        return numbers

    def finish(self, together: int = 1) -> Result:
        """Writes the result; of runs that were trained together, each has its share of the time."""
        before = _read_result(self.folder)  # Of the same updates, when only an evaluation was to be added.
        result = Result(
            digest=configs.digest(self.experiment.config),
            step=self.steps,
            metrics=self.evaluations,
            step_time=self.meter.mean_step_time or (before.step_time if before else None),
            wall_time=(time.monotonic() - self.started) / together,
            joules={kind: joules / together for kind, joules in self.energy.joules().items()},
        )
        if jax.process_index() == 0:
            workdirs.write_json(self.folder / "result.json", dataclasses.asdict(result))
        return result


def _is_evaluation(name: str) -> bool:
    return "/" in name and not name.startswith("train/")


def _refuse_other_run(folder: epath.Path, config: ConfigDict) -> None:
    """A folder holds one run: going on with another config would mix two."""
    file = folder / "config.json"
    if not file.exists():
        return
    if changed := configs.differences(workdirs.read_json(file), configs.to_json(config)):
        raise UserError(
            f"{folder} holds a run with another config; these fields differ: {'; '.join(changed)}. "
            "Take another --workdir, or give the same config."
        )


def _check_start(folder: epath.Path, experiment: Experiment) -> None:
    """Refuses weights that do not fit, before a new run leaves anything in its folder."""
    run = experiment.run
    if run.init_from is None or (folder / "provenance.json").exists():
        return
    state = abstract_state(experiment.recipe, experiment.spec)
    pretrained.check(run.init_from, experiment.model, {"params": state.params, **state.model_state}, run.init_head)


def _describe_run(folder: epath.Path, experiment: Experiment) -> None:
    """Writes what the run is and where it runs; a run that goes on elsewhere keeps its first origin."""
    run = experiment.run
    origin = provenance.collect(seed=run.seed, matmul_precision=run.matmul_precision)
    if jax.process_index() != 0:
        return
    workdirs.make(folder)
    file = folder / "provenance.json"
    if file.exists():
        first = workdirs.read_json(file)
        origin = {**first, "resumed": [*first.get("resumed", []), origin]}
    elif run.init_from is not None:
        origin["init_from"] = pretrained.describe(run.init_from)
    vocabulary = experiment.data.vocabulary()
    if vocabulary is not None and saved_tokenizer(folder) is None:
        vocabulary.save(folder / TOKENIZER)
    workdirs.write_json(folder / BATCH, described(experiment))
    workdirs.write_json(folder / "config.json", configs.to_json(experiment.config))
    workdirs.write_json(file, origin)
