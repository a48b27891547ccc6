"""The laboratory trains variants over seeds, each run once, and hands back what they measured.

A run lives in `WORKDIR/runs/<digest of its resolved config>`, so whoever asks for the same config finds it finished, or
diverged: the same config would diverge again. A run that crashes is recorded and the others go on; the next call takes
up again what crashed or is unfinished. A signal (`train.errors.Stopped`) or a mistake of the user's ends the whole.
"""

import dataclasses
import functools
import json
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from train import config as configs
from train import experiment, flops, loop, step, writers
from train import workdir as workdirs
from train.compare import numbers, population
from train.compare.progress import Progress
from train.errors import Diverged, Stopped, UserError

Train = Callable[..., Any]
Together = Literal["auto", "always", "never"]
PREFERRED = ("test/accuracy", "test/loss", "validation/accuracy", "validation/loss")  # As the metric that decides.
LARGEST = 16  # Runs that are trained together: each has its own state in the memory of the devices.
DIVERGED = "diverged"  # How the error of a run begins that did.
DIVERGENCE = "diverged.txt"  # That error, in the folder of the run; without the file, the run is trained again.


@dataclasses.dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Attributes:
        variant: label of the variant.
        seed: what the run's random numbers derive from.
        config: the resolved config, seed included.
        folder: where the run keeps its files.
        result: what the loop measured; None unless the run has finished.
        error: why it has not, where that is known.
    """

    variant: str
    seed: int
    config: ConfigDict
    folder: epath.Path
    result: loop.Result | None = None
    error: str | None = None

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.result.metrics if self.result else {}

    @property
    def diverged(self) -> bool:
        """Whether it ended at a loss, gradient or update that is not finite."""
        return self.result is None and (self.error or "").startswith(DIVERGED)

    def provenance(self) -> Mapping[str, Any]:
        """Commit, versions, device and settings that the run began with; empty if it never began."""
        file = self.folder / "provenance.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def curve(self, metric: str) -> dict[int, float]:
        """A metric by step."""
        return {row["step"]: row[metric] for row in writers.read_rows(self.folder) if metric in row}


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs of several variants over the same seeds."""

    runs: tuple[Run, ...]

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(run.variant for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    @property
    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.result is None]

    def finished(self, variant: str | None = None) -> list[Run]:
        """The finished runs, of all variants or of one, in the order of their seeds."""
        return [run for run in self.runs if run.result and variant in (None, run.variant)]

    def metric_names(self) -> list[str]:
        """The metrics that every finished run has."""
        shared = [set(run.metrics) for run in self.finished()]
        return sorted(set.intersection(*shared)) if shared else []

    def values(self, metric: str, variant: str) -> dict[int, float]:
        """The last value of a metric by seed."""
        return {run.seed: run.metrics[metric] for run in self.finished(variant)}

    def curves(self, metric: str, variant: str) -> tuple[np.ndarray, np.ndarray]:
        """A metric along training: the steps [T] that all seeds have, and the values [seeds, T]."""
        by_seed = [run.curve(metric) for run in self.finished(variant)]
        steps = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
        return np.asarray(steps), np.asarray([[curve[step] for step in steps] for curve in by_seed])


class Lab:
    """Trains what it is asked for, under one work directory.

    Attributes:
        workdir: a local folder or a `gs://` path.
        train_run: trains one run, `(config, workdir, *, writer)`; `train.loop.train` unless given.
        progress: hears of every run, and shows it.
        together: whether runs of one kind are trained as a `population`: "auto" asks a short measurement on
            accelerators, and never does on CPU, where it seldom pays for compiling the update twice.
    """

    def __init__(
        self,
        workdir: str,
        *,
        train_run: Train | None = None,
        progress: Progress | None = None,
        together: Together = "auto",
    ):
        self.workdir = workdirs.at(workdir)
        self.together = together
        self.train_run = train_run or loop.train
        self.progress = progress or Progress(quiet=True)

    def train(self, variants: Mapping[str, ConfigDict], seeds: Sequence[int]) -> Study:
        """Trains every variant with every seed that has not been trained yet.

        All variants meet the first seed before any meets the second: so a mistake shows early, and after one
        round it is known how long the rest will take.
        """
        runs = [self.run(label, config, seed) for seed in seeds for label, config in variants.items()]
        with self.progress.over(runs):
            ended = self._train_together(runs) if self._may_train_together() else {}
            runs = [ended.get((run.variant, run.seed)) or self._train_once(run) for run in runs]
        return Study(tuple(sorted(runs, key=lambda run: (list(variants).index(run.variant), run.seed))))

    def run(self, label: str, config: ConfigDict, seed: int) -> Run:
        """The run of a variant with a seed, whether or not it has been trained."""
        seeded = configs.resolve(config, [f"seed={seed}"])
        folder = self.workdir / "runs" / configs.digest(seeded)
        result = loop.finished(folder, seeded)
        return Run(label, seed, seeded, folder, result, None if result else _divergence(folder))

    def _may_train_together(self) -> bool:
        return self.together == "always" or (self.together == "auto" and jax.default_backend() != "cpu")

    def _train_together(self, runs: Sequence[Run]) -> dict[tuple[str, int], Run]:
        """Trains runs that have not begun in populations, where that is faster.

        Returns:
            What was trained, by variant and seed.
        """
        ended: list[Run] = []
        for members in _populations(runs):
            if len(members) > 1 and self._pays(members):
                with self.progress.training(*members) as writer:
                    errors = self._attempt_together(members, writer)
                ended += [self._ended(run, error) for run, error in zip(members, errors, strict=True)]
        return {(run.variant, run.seed): run for run in ended}

    def _pays(self, runs: Sequence[Run]) -> bool:
        return self.together == "always" or population.gain(experiment.build(runs[0].config), len(runs)) > 1

    def _train_once(self, run: Run) -> Run:
        if run.result or run.diverged:
            self.progress.found(run)
            return run
        with self.progress.training(run) as writer:
            error = self._attempt(run, lambda: self.train_run(run.config, run.folder, writer=writer))
        return self._ended(run, error)

    def _ended(self, run: Run, error: str | None) -> Run:
        run = dataclasses.replace(run, result=loop.finished(run.folder, run.config), error=error)
        if run.diverged and jax.process_index() == 0:
            (run.folder / DIVERGENCE).write_text(f"{run.error}\n")
        self.progress.ended(run)
        return run

    def _attempt_together(self, runs: Sequence[Run], writer: Any) -> list[str | None]:
        """Trains a population and returns what went wrong with each; what is no fault of one run is that of all."""
        found: list[str | None] = []

        def train() -> None:
            found.extend(population.train([run.config for run in runs], [run.folder for run in runs], writer=writer))

        error = self._attempt(runs[0], train)
        return found or [error] * len(runs)

    def _attempt(self, run: Run, train: Callable[[], Any]) -> str | None:
        """Trains a run and returns what went wrong: that stays with the run, and the others go on."""
        trace = run.folder / "error.txt"
        trace.unlink(missing_ok=True)
        try:
            train()
        except (UserError, Stopped):
            raise
        except Diverged as ending:
            return f"{DIVERGED}: {ending}"
        except Exception as crash:
            run.folder.mkdir(parents=True, exist_ok=True)
            trace.write_text(traceback.format_exc())
            reason = " ".join(str(crash).split())[:300]
            return f"{type(crash).__name__}: {reason} (see {trace.relative_to(self.workdir)})"
        return None


def _populations(runs: Sequence[Run]) -> list[list[Run]]:
    """Those runs that have not begun, each with others of its kind."""
    new: dict[epath.Path, Run] = {}
    for run in runs:
        if not (run.folder / "provenance.json").exists():
            new.setdefault(run.folder, run)  # Variants may have equal configs.
    first = {run.variant: run for run in reversed(new.values())}
    kinds = {variant: population.kind(experiment.build(run.config)) for variant, run in first.items()}
    groups: dict[Any, list[Run]] = {}
    for run in new.values():
        if kinds[run.variant] is not None:
            groups.setdefault(kinds[run.variant], []).append(run)
    return [
        members[start : start + LARGEST] for members in groups.values() for start in range(0, len(members), LARGEST)
    ]


def _divergence(folder: epath.Path) -> str | None:
    """How an earlier run in `folder` diverged, if it did."""
    file = folder / DIVERGENCE
    return file.read_text().strip() if file.exists() else None


def measure(config: ConfigDict) -> dict[str, int]:
    """Counts what one variant costs, without allocating or training anything.

    Returns:
        `parameters`, and `flops_forward` for one example of the batch.
    """
    values = configs.to_json(config) | {"seed": 0}
    if config.data.tokenizer.name is None:  # Else the texts decide the vocabulary, and so the embedding.
        values["data"] |= {"train_fraction": 1.0}
    return dict(_measured(json.dumps(values, sort_keys=True)))


@functools.lru_cache(maxsize=1024)  # Tracing takes a second, and claims that share runs ask again.
def _measured(config: str) -> Mapping[str, int]:
    built = experiment.build(configs.from_json(json.loads(config)))
    state = step.abstract_state(built.recipe, built.spec)
    variables = {"params": state.params, **state.model_state}
    inputs = built.model_inputs(built.spec)
    total = flops.forward_flops(lambda variables, inputs: built.model.apply(variables, **inputs), variables, inputs)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return {"parameters": parameters, "flops_forward": round(total / jax.tree.leaves(inputs)[0].shape[0])}


def metrics_of(config: ConfigDict) -> set[str]:
    """The numbers that a run of this config will report."""
    built = experiment.build(config)
    measured = built.evaluators.values()
    return {f"{evaluator.split}/{name}" for evaluator in measured for name in evaluator.reports(built)}


def primary_metric(names: Collection[str], asked: str | None = None) -> str:
    """The metric that decides: the one asked for, else the first there is of `PREFERRED`, else any."""
    found = [name for name in PREFERRED if name in names]
    return asked or next(iter([*found, *names]), PREFERRED[0])


def described(metrics: Mapping[str, float], asked: str | None = None) -> str:
    """Of a run's metrics the one that decides, in words; the first where that is not among them."""
    name = primary_metric(metrics, asked)
    name = name if name in metrics else next(iter(metrics), "")
    return f"{numbers.metric_name(name)} {numbers.show_value(name, metrics[name]):>8}" if name else ""
