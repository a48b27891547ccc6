"""Claims: one file each, which reads as an experiment; in comes a sentence, out come two answers with evidence.

A claim file has a docstring (first line the claim, then what is tested, and what a paper printed), `SECTION`, the part
of the article, `SENTENCE`, its words, and `run(lab)`, a generator of `train.compare.checks.Check`; `lab` is a
`ClaimLab`. One that trains at the full scale only does so in a function `at_full_scale`. Files are named
`c04_weights_of_a_layer.py`: the claim's id stands before the first underscore.
"""

import dataclasses
import inspect
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import jax
import numpy as np
from ml_collections import ConfigDict

from train import config as configs
from train import evaluate, modules, plugins
from train.compare import budget, checks, fairness, frontier, numbers, plots, statistics, tuning
from train.compare import recurrence as recurrences
from train.compare import subject as subjects
from train.compare.checks import Check
from train.compare.lab import Lab, Study
from train.compare.pages import Table
from train.compare.report import Chart
from train.errors import Stopped, UserError, nearest

Scale = Literal["small", "full"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim file.

    Attributes:
        id: `C04`.
        title: the claim in one line.
        about: the rest of the docstring.
        section: the part of the article that makes it.
        sentence: the article's words.
        run: the experiment.
        path: of the file.
        trains: the scales at which it trains anything, which takes longer.
    """

    id: str
    title: str
    about: str
    section: str
    sentence: str
    run: Callable[["ClaimLab"], Iterator[Check]]
    path: str
    trains: tuple[Scale, ...] = ()


@dataclasses.dataclass(frozen=True)
class Finding:
    """A claim with what came out.

    Attributes:
        claim: what was claimed.
        checks: what was measured.
        tables, charts, studies: the evidence.
        seconds: how long it took, runs that were found again apart.
        error: why there is no verdict, if there is none.
    """

    claim: Claim
    checks: tuple[Check, ...]
    tables: tuple[Table, ...]
    studies: Mapping[str, Study]
    seconds: float
    error: str | None = None
    charts: tuple[Chart, ...] = ()

    @property
    def answer(self) -> str:
        return "no verdict" if self.error else checks.answer(self.checks)

    @property
    def agreement(self) -> str:
        return "no verdict" if self.error else checks.agreement(self.checks)

    @property
    def why(self) -> str:
        return self.error or checks.why(self.checks)


class ClaimLab:
    """What a claim may ask for: counts and derivatives of untrained models, and trained variants at an equal budget.

    Attributes:
        lab: trains and finds runs.
        scale: "small" for two CPU cores, "full" for one accelerator.
        seeds: that trained claims use.
    """

    equal = staticmethod(checks.equal)
    near = staticmethod(checks.near)
    above = staticmethod(checks.above)
    below = staticmethod(checks.below)
    holds = staticmethod(checks.holds)
    exceeds = staticmethod(checks.exceeds)
    nearest = staticmethod(budget.nearest)
    architecture = staticmethod(subjects.architecture)
    layer = staticmethod(subjects.layer)
    part = staticmethod(subjects.part)
    exponent = staticmethod(subjects.exponent)
    key = staticmethod(jax.random.key)
    recurrence = staticmethod(recurrences.recurrence)
    frontiers = staticmethod(frontier.frontiers)

    def __init__(self, lab: Lab, scale: Scale = "small", seeds: Sequence[int] = range(5)):
        self.lab, self.scale, self.seeds = lab, scale, tuple(seeds)
        self.tables: list[Table] = []
        self.charts: list[Chart] = []
        self.studies: dict[str, Study] = {}

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Shows numbers beside the checks."""
        shown = [[cell if isinstance(cell, str) else checks.show(cell) for cell in row] for row in rows]
        self.tables.append(Table(title, header, shown))

    def lines(
        self,
        title: str,
        xlabel: str,
        lines: Mapping[str, Mapping[float, float | Sequence[float]]],
        *,
        percent: bool = False,
        log: Literal["", "x", "y", "xy"] = "",
        chance: float | None = None,
        caption: str = "",
    ) -> None:
        """Draws numbers against a size.

        Args:
            title, xlabel, caption: of the chart.
            lines: by label, what was measured at each size: a number, or one for each seed.
            percent: whether the numbers are shares.
            log: axes that are logarithmic.
            chance: what a network without knowledge of the input reaches.
        """
        curves = {
            label: plots.Curve(np.asarray(list(line), float), np.asarray([np.atleast_1d(y) for y in line.values()]).T)
            for label, line in lines.items()
        }
        look = plots.looks(list(lines))
        drawn = plots.against(curves, look, title=title, xlabel=xlabel, percent=percent, log=log, chance=chance)
        band = any(len(curve.values) > 1 for curve in curves.values())
        about = "Mean over seeds; the band spans the lowest and the highest seed." if band else ""
        self.charts.append(Chart(title, drawn, title, " ".join(filter(None, (caption, about)))))

    def heat(self, title: str, names: Sequence[str], values: Any, caption: str = "") -> None:
        """Draws numbers from 0 to 1 of every two of `names`, [N, N]."""
        drawn = plots.heat(np.asarray(values), names, title=title)
        self.charts.append(Chart(title, drawn, title, caption))

    def train(
        self,
        name: str,
        variants: Mapping[str, ConfigDict],
        *,
        axis: Sequence[str],
        match: budget.Budget | None = None,
        reference: str | None = None,
        widths: Mapping[str, str] | None = None,
        may_diverge: bool = False,
        tune: tuning.Grid | None = None,
        tune_by: str | None = None,
    ) -> Study:
        """Trains every variant with every seed, once they are alike in all but what is compared.

        Args:
            name: of the study, in the report.
            variants: resolved configs by label, of `load`.
            axis: fields that are compared, such as `model.cell`; a section stands for all that is in it.
            match: makes the variants equal in parameters, FLOPs or time of a step by their free widths.
            reference, widths: as in `budget.match`.
            tune: field to the values that each variant tries, with a seed that is not reported, before it is trained
                with what did best on validation; several fields are combined.
            tune_by: the metric that says so; None is accuracy where there is one, else loss.
            may_diverge: whether a run that diverges is an observation, `Run.diverged`, and not a run that is missing.

        Raises:
            Unfair: the variants differ in more than what is declared.
            RunsFailed: a run is missing.
        """
        declared = list(axis)
        if match:
            memory = self.lab.workdir / "matched"
            matched = budget.match(variants, match, reference=reference, widths=widths, memory=memory)
            variants = {label: one.config for label, one in matched.items()}
            declared += [one.field for one in matched.values() if one.field]
            shown = numbers.show_time if match == "time" else checks.show
            rows = [
                [label, one.field or "as it is", str(one.width or ""), shown(one.cost), one.shown_deviation()]
                for label, one in matched.items()
            ]
            self.table(f"{name}: equal {match}", ("variant", "free width", "chosen", match, "deviation"), rows)
        fairness.demand(variants, declared)
        if tune:
            tuned = tuning.tune(self.lab, variants, tune, tune_by)
            self.tables.append(tuned.table(name))
            variants = tuned.configs(variants)
            fairness.demand(variants, [*declared, *tune])
        study = self.lab.train(variants, self.seeds)
        self.studies[name] = study
        missing = [run for run in study.failed if not (may_diverge and run.diverged)]
        if missing:
            failed = ", ".join(f"{run.variant} seed {run.seed} ({run.error})" for run in missing)
            raise RunsFailed(f"{len(missing)} of {len(study.runs)} runs failed: {failed}")
        return study

    @staticmethod
    def objective(name: str, **fields: Any) -> Any:
        """One of `train.objectives`."""
        return plugins.load("train.objectives", name, "Objective", field="objective")(**fields)

    @staticmethod
    def load(path: str, *overrides: str) -> ConfigDict:
        """A resolved config: `configs/adding.py:lstm` with `steps=500` and the like."""
        return configs.load(path, overrides)

    @staticmethod
    def differences(study: Study, metric: str, first: str, second: str) -> list[float]:
        """`first - second` of a metric, seed by seed."""
        return statistics.paired_differences(study.values(metric, first), study.values(metric, second))

    @staticmethod
    def probe(
        study: Study, variant: str, evaluator: str, *, trained: bool = True, **fields: Any
    ) -> dict[int, dict[str, float]]:
        """What an evaluator of `train.evaluators` says of a variant's runs, by seed; names begin with the split.

        Args:
            study: of `train`.
            variant: label.
            evaluator: by name.
            trained: whether of the end of the run, or of the state with which it began.
            **fields: of the evaluator.
        """
        overrides = [f"evaluators.{evaluator}.{name}={value}" for name, value in fields.items()]
        return {
            run.seed: evaluate.measure(run.folder, overrides, [evaluator], trained=trained)[1]
            for run in study.finished(variant)
        }


class RunsFailed(Exception):
    """A claim lacks runs that it needs."""


def load(paths: Sequence[str], only: Sequence[str] = ()) -> list[Claim]:
    """The claims of some files, in the order of their ids.

    Raises:
        UserError: a file is no claim, two have one id, or `only` names one that is not there.
    """
    claims = [_claim(path) for path in paths]
    by_id: dict[str, Claim] = {}
    for claim in claims:
        if claim.id in by_id:
            raise UserError(f"{claim.path}: its id {claim.id} is that of {by_id[claim.id].path} too.")
        by_id[claim.id] = claim
    wanted = [name.upper() for name in only]
    for name in wanted:
        if name not in by_id:
            raise UserError(f"--only: {name} is not among the claims; {nearest(name, by_id)}")
    return [by_id[name] for name in sorted(by_id) if not wanted or name in wanted]


def judge(claim: Claim, lab: ClaimLab) -> Finding:
    """Runs a claim. What goes wrong stays with it: the others go on. A signal ends the whole."""
    begun = time.monotonic()
    found: list[Check] = []
    error = None
    try:
        for check in claim.run(lab):
            found.append(check)
        checks.answer(found)
    except Stopped:
        raise
    except (UserError, RunsFailed) as ending:
        error = str(ending)
    except Exception as crash:
        place = traceback.extract_tb(crash.__traceback__)[-1]
        error = (
            f"{type(crash).__name__}: {' '.join(str(crash).split())[:300]} ({Path(place.filename).name}:{place.lineno})"
        )
    seconds = time.monotonic() - begun
    return Finding(claim, tuple(found), tuple(lab.tables), dict(lab.studies), seconds, error, tuple(lab.charts))


def _claim(path: str) -> Claim:
    module = modules.at(path, needs="run")
    name = Path(path).stem.partition("_")[0].upper()
    if not re.fullmatch(r"[A-Z]+\d+", name):
        raise UserError(f"{path}: a claim's file begins with its id and an underscore, as c04_weights_of_a_layer.py.")
    title, _, about = (inspect.getdoc(module) or "").partition("\n")
    given = {"docstring": title, "SECTION": getattr(module, "SECTION", ""), "SENTENCE": getattr(module, "SENTENCE", "")}
    if missing := [what for what, text in given.items() if not text]:
        raise UserError(f"{path}: a claim needs {', '.join(missing)}; configs/claims shows how.")
    trains = _scales_that_train(module)
    return Claim(name, title.rstrip("."), about.strip(), given["SECTION"], given["SENTENCE"], module.run, path, trains)


def _scales_that_train(module: ModuleType) -> tuple[Scale, ...]:
    """By its source: what is in a function `at_full_scale` happens there only."""
    source = inspect.getsource(module)
    further = getattr(module, "at_full_scale", None)
    of_scale: dict[Scale, str] = {
        "small": source.replace(inspect.getsource(further), "") if further else source,
        "full": source,
    }
    return tuple(scale for scale, text in of_scale.items() if "lab.train(" in text)
