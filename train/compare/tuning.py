"""Equal tuning: each variant gets the same trials, with a seed that is not reported, and keeps what did best.

The test split is not looked at before the choice: in trials, all evaluators measure on the split `validation`.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from train import config as configs
from train import experiment
from train.compare import numbers
from train.compare.lab import Lab, Run, primary_metric
from train.compare.pages import Table
from train.errors import UserError

SEED = 1000
Grid = Mapping[str, Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A variant with one setting of what is tuned.

    Attributes:
        variant: label.
        values: of the tuned fields, in their order.
        run: what became of it.
    """

    variant: str
    values: tuple[Any, ...]
    run: Run


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What was tried, and what each variant keeps.

    Attributes:
        fields: that were tuned.
        metric: that decided, on validation.
        trials: all of them.
        chosen: the best trial of each variant.
    """

    fields: tuple[str, ...]
    metric: str
    trials: tuple[Trial, ...]
    chosen: Mapping[str, Trial]

    def configs(self, variants: Mapping[str, ConfigDict]) -> dict[str, ConfigDict]:
        """The variants with what was chosen, measured on whatever splits they ask for."""
        return {
            label: configs.resolve(config, _overrides(self.fields, self.chosen[label].values))
            for label, config in variants.items()
        }

    def table(self, name: str = "") -> Table:
        """All trials, for a report."""
        shown = numbers.metric_name(self.metric)
        rows = [
            [
                trial.variant,
                *map(str, trial.values),
                self._shown(trial),
                "chosen" * (self.chosen[trial.variant] is trial),
            ]
            for trial in self.trials
        ]
        title = f"Tuning on validation, seed {SEED}, which counts for nothing else"
        return Table(f"{name}: {title}" if name else title, ("variant", *self.fields, shown, ""), rows)

    def _shown(self, trial: Trial) -> str:
        metrics = trial.run.metrics
        return numbers.show_value(self.metric, metrics[self.metric]) if metrics else trial.run.error or "failed"


def tune(lab: Lab, variants: Mapping[str, ConfigDict], grid: Grid, metric: str | None = None) -> Tuned:
    """Trains every variant with every setting of `grid`, once, and finds the best of each.

    Args:
        lab: trains the trials, or finds them.
        variants: resolved configs by label.
        grid: field to values; several are combined.
        metric: that decides; its split is taken to be validation. None is accuracy where there is one, else loss.

    Raises:
        UserError: there is nothing to choose on, or all trials of a variant failed.
    """
    settings = list(itertools.product(*grid.values()))
    asked = {
        (label, values): trial_config(label, config, _overrides(list(grid), values))
        for label, config in variants.items()
        for values in settings
    }
    names = {key: f"{key[0]} {', '.join(map(str, key[1]))}" for key in asked}
    study = lab.train({names[key]: config for key, config in asked.items()}, [SEED])
    by_name = {run.variant: run for run in study.runs}
    trials = tuple(Trial(*key, by_name[name]) for key, name in names.items())
    # All evaluators measure on validation here, so only the name after the split says which metric is meant.
    decisive = primary_metric(study.metric_names(), f"validation/{metric.rpartition('/')[2]}" if metric else None)
    chosen = {
        label: _best(label, [trial for trial in trials if trial.variant == label], decisive) for label in variants
    }
    return Tuned(tuple(grid), decisive, trials, chosen)


def trial_config(label: str, config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """The config with a setting, all of its evaluators on the split `validation`."""
    if not config.evaluators:
        raise UserError(f"tune: {label!r} has no evaluator, so that nothing says which trial is best.")
    splits = [f"evaluators.{name}.split=validation" for name in config.evaluators]
    trial = configs.resolve(config, [*overrides, *splits])
    try:
        experiment.build(trial)
    except UserError as error:
        raise UserError(f"tune: {label!r} cannot be tuned on validation: {error}") from error
    return trial


def _overrides(fields: Sequence[str], values: Sequence[Any]) -> list[str]:
    return [f"{field}={value}" for field, value in zip(fields, values, strict=True)]


def _best(label: str, trials: Sequence[Trial], metric: str) -> Trial:
    finished = [trial for trial in trials if trial.run.result]
    if not finished:
        failed = ", ".join(f"{trial.values}: {trial.run.error}" for trial in trials)
        raise UserError(f"tune: all trials of {label!r} failed: {failed}")
    if missing := [trial for trial in finished if metric not in trial.run.metrics]:
        raise UserError(
            f"tune: {metric!r} is not measured; there are {', '.join(sorted(missing[0].run.metrics))}. Name one."
        )
    sign = 1 if numbers.higher_is_better(metric) else -1
    return max(finished, key=lambda trial: sign * trial.run.metrics[metric])
