"""Saving and restoring a run's state: the only file that imports Orbax, and only once it is needed, for that takes
longer than to find a mistake in a config.

Orbax alone restores most flipped bits without a word. So each checkpoint is sealed: the last file written into it holds
a digest of all others, and a checkpoint that its seal does not match is never used: the one before it is.
"""

import dataclasses
import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import jax
from etils import epath
from jax.experimental import multihost_utils

from train.errors import UserError, nearest
from train.step import TrainState

if TYPE_CHECKING:
    from train.experiment import Experiment

SEAL = "seal.json"
# Besides the seal itself, what Orbax writes at or after the commit; it holds nothing that is restored.
UNSEALED = (SEAL, "_CHECKPOINT_METADATA", "commit_success.txt")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CheckpointOptions:
    """When a state is saved, and which saved ones are kept.

    Attributes:
        every: updates between two checkpoints; None saves at the end only (and when a signal stops the run).
        keep_last: how many of the newest are kept; with one alone, there is nothing to go back to when it is damaged.
        keep_best: how many of the best by `metric` are kept besides.
        metric: what "best" means, a number that an evaluator reports, such as `validation/accuracy`.
        mode: whether a higher (max) or lower (min) metric is better.
    """

    every: int | None = None
    keep_last: int = 2
    keep_best: int = 0
    metric: str = "validation/loss"
    mode: Literal["max", "min"] = "min"

    def __post_init__(self) -> None:
        for field, least in (("every", 1), ("keep_last", 1), ("keep_best", 0)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise UserError(f"config.checkpoint.{field}: {value} is out of range; it must be at least {least}.")

    def due(self, done: int, steps: int) -> bool:
        """Whether the state is saved after `done` of `steps` updates."""
        return done == steps or (self.every is not None and done % self.every == 0)

    def check(self, experiment: "Experiment") -> None:
        """Keeping the best needs the metric at every checkpoint."""
        if self.keep_best == 0:
            return
        measured: dict[str, list[int | None]] = {}
        for evaluator in experiment.evaluators.values():
            for name in evaluator.reports(experiment):
                measured.setdefault(f"{evaluator.split}/{name}", []).append(evaluator.every)
        if self.metric not in measured:
            raise UserError(
                f"config.checkpoint.metric: no evaluator measures {self.metric!r}; {nearest(self.metric, measured)}"
            )
        if not any(e == self.every or (e and self.every and self.every % e == 0) for e in measured[self.metric]):
            raise UserError(
                f"config.checkpoint.keep_best: {self.metric!r} is not measured at every checkpoint; give its evaluator "
                f"an `every` that divides config.checkpoint.every={self.every}."
            )


class Checkpoints:
    """The checkpoints of one run in an absolute `folder`, saved in the background.

    A context manager that waits for the last one.
    """

    def __init__(
        self,
        folder: epath.Path,
        options: CheckpointOptions,
        config: Mapping[str, Any],
        *,
        read_only: bool = False,
    ):
        import orbax.checkpoint as ocp

        self._folder = folder / "checkpoints"
        self._config = dict(config)
        self._read_only = read_only
        self._saving: int | None = None
        if jax.process_index() == 0 and not read_only:
            self._folder.mkdir(parents=True, exist_ok=True)
        logging.getLogger("absl").addFilter(_is_news)
        _barrier("checkpoints")
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=False,
                read_only=read_only,
                cleanup_tmp_directories=not read_only,
                preservation_policy=_preservation(options),
                best_fn=_score(options) if options.keep_best else None,  # Without it Orbax forgets the metrics.
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal_unfinished),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def restore(self, abstract: TrainState) -> TrainState | None:
        """The newest state that is whole, in the shardings of `abstract`; None if there is none.

        A checkpoint that is not whole is skipped with a warning and, unless read-only, moved to `damaged/`, so that
        its step can be saved again.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            problem = self._problem(step)
            if problem is None:
                return self._restore(step, abstract)
            log.warning("checkpoint %s is not used: %s", self.path(step), problem)
            if not self._read_only:
                self._set_aside(step)
        return None

    def save(self, step: int, state: TrainState, metrics: Mapping[str, float]) -> None:
        """Starts to save; returns when the state may be changed again."""
        import orbax.checkpoint as ocp

        self._manager.wait_until_finished()
        self._saving = step
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(self._config))
        self._manager.save(step, args=items, metrics=dict(metrics), force=True)

    def wait(self) -> None:
        """Returns when what was saved is on disk and sealed."""
        self._manager.wait_until_finished()

    def newest(self) -> str:
        """Where the newest checkpoint is, or "none"."""
        step = self._manager.latest_step()
        return "none" if step is None else str(self.path(step))

    def path(self, step: int) -> epath.Path:
        return self._folder / str(step)

    def _restore(self, step: int, abstract: TrainState) -> TrainState:
        import orbax.checkpoint as ocp

        return self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]

    def _problem(self, step: int) -> str | None:
        """What is wrong with a checkpoint, found out by one process for all."""
        problem = ""
        if jax.process_index() == 0:
            seal = self.path(step) / SEAL
            try:
                changed = _changed(json.loads(seal.read_text()), _digests(self.path(step)))
                problem = f"{', '.join(changed)} changed since it was written" if changed else ""
            except (ValueError, OSError) as error:
                problem = f"it cannot be read ({error})" if seal.exists() else "it has no seal"
        if jax.process_count() > 1:
            whole = multihost_utils.broadcast_one_to_all(jax.numpy.asarray(problem == ""))
            problem = "" if bool(whole) else problem or "process 0 found it damaged"
        return problem or None

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            damaged = self._folder.parent / "damaged"
            damaged.mkdir(exist_ok=True)
            target = damaged / str(step)
            if target.exists():
                target.rmtree()
            self.path(step).rename(target)
        _barrier(f"set_aside_{step}")
        self._manager.reload()

    def _seal_unfinished(self) -> None:
        """Called by Orbax's thread when all files are written, before a rename makes them a checkpoint."""
        if jax.process_index() == 0:
            names = (str(self._saving), f"{self._saving}.orbax-checkpoint-tmp")  # Buckets know no rename.
            folder = next(entry for entry in self._folder.iterdir() if entry.name in names)
            (folder / SEAL).write_text(json.dumps(_digests(folder)))


def _preservation(options: CheckpointOptions) -> Any:
    from orbax.checkpoint import checkpoint_managers as managers

    policies: list[Any] = [managers.LatestN(options.keep_last)]
    if options.keep_best:
        reverse = options.mode == "min"
        policies.append(managers.BestN(get_metric_fn=_score(options), reverse=reverse, n=options.keep_best))
    return managers.AnyPreservationPolicy(policies)


def _score(options: CheckpointOptions) -> Callable[[Mapping[str, float]], float]:
    """What ranks checkpoints: one that was saved without a measurement (by a signal) is worse than any other."""
    worst = -math.inf if options.mode == "max" else math.inf

    def score(metrics: Mapping[str, float]) -> float:
        value = metrics.get(options.metric, worst)
        return worst if math.isnan(value) else value

    return score


def _digests(folder: epath.Path) -> dict[str, str]:
    """SHA-256 of every sealed file below `folder`, by its path within."""
    files = (file for file in _files(folder) if file.name not in UNSEALED)
    return {str(file.relative_to(folder)): _sha256(file) for file in files}


def _files(folder: epath.Path) -> Iterator[epath.Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


def _sha256(file: epath.Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()


def _changed(sealed: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    return sorted(name for name in sealed.keys() | present.keys() if sealed.get(name) != present.get(name))


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _is_news(record: logging.LogRecord) -> bool:
    """Not that a folder is only read, of which Orbax warns whoever asks for just that."""
    return not re.search("read.only", record.getMessage())
