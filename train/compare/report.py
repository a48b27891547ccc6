"""What a study found, as a page, a document, a table on the terminal, and one line of JSON per run."""

import dataclasses
import datetime
import functools
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from etils import epath

from train import config as configs
from train import plugins
from train.compare import numbers, pages, plots, statistics
from train.compare.lab import Run, Study
from train.compare.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Chart:
    """A drawn figure with the name of its file, what it shows, and how to read it."""

    name: str
    figure: "Figure"
    title: str
    caption: str

    @functools.cached_property
    def svg(self) -> str:
        return plots.to_svg(self.figure)


class Difference(NamedTuple):
    """Two variants compared seed by seed; `p` is adjusted for all pairs of the report."""

    first: str
    second: str
    interval: Interval
    p: float

    @property
    def sure(self) -> bool:
        return self.p < LEVEL


class Report:
    """A study read by one metric.

    Attributes:
        study: the runs.
        costs: `parameters` and `flops_forward` of every variant.
        metric: what decides.
        title: heads the report.
        about: a paragraph on what is compared, may be empty.
        command: what makes this report again.
        tables: what else is shown, such as trials.
        date: when it was made.
    """

    def __init__(
        self,
        study: Study,
        costs: Mapping[str, Mapping[str, int]],
        *,
        metric: str,
        title: str,
        about: str = "",
        command: str = "",
        tables: Sequence[pages.Table] = (),
        date: datetime.datetime | None = None,
    ):
        self.study, self.costs, self.metric = study, costs, metric
        self.title, self.about, self.command = title, about, command
        self.tables = tables
        self.date = date or datetime.datetime.now().astimezone()

    @functools.cached_property
    def intervals(self) -> dict[str, Interval]:
        """The metric's mean and interval of every variant."""
        values = {label: self.study.values(self.metric, label) for label in self.study.variants}
        return {label: statistics.interval(list(by_seed.values())) for label, by_seed in values.items()}

    @functools.cached_property
    def ranking(self) -> list[str]:
        """The variants that have a value, best first."""
        means = {label: interval.mean for label, interval in self.intervals.items()}
        known = [label for label in means if not math.isnan(means[label])]
        return sorted(known, key=lambda label: means[label], reverse=numbers.higher_is_better(self.metric))

    @functools.cached_property
    def differences(self) -> list[Difference]:
        """Every pair of variants, the better one first, with p-values corrected for their number."""
        pairs = list(itertools.combinations(self.ranking, 2))
        values = {label: self.study.values(self.metric, label) for label in self.ranking}
        paired = [statistics.paired_differences(values[first], values[second]) for first, second in pairs]
        adjusted = statistics.holm([statistics.p_value(differences) for differences in paired])
        return [
            Difference(*pair, statistics.interval(differences), p)
            for pair, differences, p in zip(pairs, paired, adjusted, strict=True)
        ]

    def headline(self) -> str:
        """What one may say of the first place, and no more."""
        if not self.ranking:
            return "No run finished."
        best = self.ranking[0]
        sentence = f"{best} comes first with {self.shown(best)} {numbers.metric_name(self.metric)}"
        rivals = [pair.second for pair in self.differences if pair.first == best and not pair.sure]
        if len(self.ranking) == 1:
            return f"{best} reaches {self.shown(best)} {numbers.metric_name(self.metric)}."
        if rivals:
            others = len(self.ranking) - 1
            which = _listed(rivals) if len(rivals) <= 3 else f"{len(rivals)} of the {others} others"
            return f"{sentence}; {_count(self.study.seeds, 'seed')} cannot tell it from {which}."
        return f"{sentence}, ahead of every other variant on the same seeds (p < {LEVEL:g}, corrected)."

    def shown(self, label: str) -> str:
        return numbers.show_interval(self.metric, self.intervals[label])

    def missing(self, label: str) -> str:
        """Says how many of the seeds a variant's numbers rest on, where it is not all of them."""
        n, asked = self.intervals[label].n, len(self.study.seeds)
        return "" if n == asked else f"{n} of {_count(self.study.seeds, 'seed')}"

    def mean_of(self, label: str, key: str) -> float:
        """The mean over seeds of a field of the result, such as `step_time`."""
        values = [getattr(run.result, key) for run in self.study.finished(label)]
        values = [value for value in values if value is not None]
        return sum(values) / len(values) if values else math.nan

    @functools.cached_property
    def charts(self) -> list[Chart]:
        """The figures that the runs have data for."""
        by_cost = [self._against("parameters", "parameters"), self._against("flops_forward", "forward FLOPs")]
        return [*(chart for chart in by_cost if chart is not None), *learning_curves(self.study, self.metric)]

    def _against(self, key: str, what: str) -> Chart | None:
        points = {
            label: plots.Point(self.costs[label][key], self.intervals[label])
            for label in self.study.variants
            if label in self.ranking
        }
        if not points:
            return None
        title, percent = f"{_heading(self.metric)} against {what}", numbers.is_percent(self.metric)
        look = plots.looks(self.study.variants)
        figure = plots.against_cost(points, look, title=title, xlabel=what, percent=percent)
        name = f"{numbers.file_name(self.metric)}-against-{numbers.file_name(key)}"
        return Chart(name, figure, title, "Mean over seeds with its 95 % interval.")

    def facts(self) -> list[tuple[str, str]]:
        """Where the numbers come from, for a reader who wants them again."""
        seconds = sum(run.result.wall_time for run in self.study.runs if run.result)
        return [
            ("Seeds", ", ".join(map(str, self.study.seeds))),
            *origin([run.provenance() for run in self.study.finished()]),
            ("Training time", numbers.show_duration(seconds)),
            ("Energy", energy(self.study.finished())),
            ("Report made", f"{self.date:%Y-%m-%d %H:%M %Z}"),
        ]

    def differing_fields(self) -> list[tuple[str, list[str]]]:
        """The fields in which the variants' configs differ, with the value that each variant has."""
        of_variant = {run.variant: run.config for run in self.study.runs}
        flat = [configs.flatten(configs.to_json(config)) for config in of_variant.values()]
        fields = sorted(set().union(*flat))
        rows = [(field, [_plain(values.get(field, "")) for values in flat]) for field in fields]
        return [(field, values) for field, values in rows if len(set(values)) > 1]

    def lines(self) -> list[dict[str, Any]]:
        """Every run with all that is known of it."""
        return [_line(run, self.costs[run.variant]) for run in self.study.runs]


def learning_curves(study: Study, metric: str) -> list[Chart]:
    """What decides, and the training loss, along training, where the runs have data for it."""
    drawn = [_curves(study, name) for name in dict.fromkeys((metric, "train/loss"))]
    return [chart for chart in drawn if chart is not None]


def _curves(study: Study, metric: str) -> Chart | None:
    lines = {label: plots.Curve(*study.curves(metric, label)) for label in study.variants}
    lines = {label: line for label, line in lines.items() if _can_be_drawn(line)}
    if not lines:
        return None
    title, percent = _heading(metric), numbers.is_percent(metric)
    chance = _chance(study) if metric.endswith("/loss") else None
    look, log = plots.looks(study.variants), metric.endswith("loss")
    figure = plots.curves(lines, look, title=title, percent=percent, log=log, chance=chance)
    caption = "Mean over seeds; the band spans the lowest and the highest seed."
    if chance is not None:
        caption += f" Chance, {chance:.4g}, is the best loss without knowledge of the input."
    return Chart(f"{numbers.file_name(metric)}-curve", figure, title, caption)


def _chance(study: Study) -> float | None:
    """The loss at chance, where the source knows it and all variants share the source."""
    sections = [run.config.data.source for run in study.runs]
    if any(section != sections[0] for section in sections):
        return None
    source = plugins.load("train.data.sources", sections[0].name, "Source", field="config.data.source.name")
    return getattr(source(**configs.arguments(sections[0])), "chance_loss", None)


def _heading(metric: str) -> str:
    return numbers.metric_name(metric).capitalize()


def write(report: Report, workdir: epath.Path) -> None:
    """Writes `report.html`, `report.md`, `plots/` and `results.jsonl` into the work directory."""
    pages.write_charts(report.charts, workdir / "plots")
    (workdir / "report.html").write_bytes(render(report, "report.html.jinja2").encode())
    (workdir / "report.md").write_bytes(render(report, "report.md.jinja2").encode())
    (workdir / "results.jsonl").write_bytes(pages.json_lines(report.lines()))


def render(report: Report, template: str) -> str:
    """Fills a template of this package."""
    return (
        pages.environment()
        .get_template(template)
        .render(
            report=report,
            study=report.study,
            metric=report.metric,
            value=functools.partial(numbers.show_value, report.metric),
            difference=functools.partial(numbers.show_difference, report.metric),
            colours={label: plots.colour_index(i) for i, label in enumerate(report.study.variants)},
            strip=Strip(report),
        )
    )


def terminal_table(report: Report) -> "Table":
    """The report's table, for a console."""
    import rich.box
    import rich.text
    from rich.table import Table

    seeds = _count(report.study.seeds, "seed")
    table = Table(
        box=rich.box.SIMPLE_HEAD,
        caption=f"mean ± 95 % interval (Student-t) over {seeds}; FLOPs: one example, forward",
        caption_justify="left",
    )
    table.add_column("variant")
    for heading in (numbers.metric_name(report.metric), "parameters", "FLOPs", "step time"):
        table.add_column(heading, justify="right")
    for label in report.study.variants:
        cells = (
            " ".join(filter(None, (label, report.missing(label)))),
            report.shown(label),
            f"{report.costs[label]['parameters']:,}",
            numbers.show_count(report.costs[label]["flops_forward"]),
            numbers.show_time(report.mean_of(label, "step_time")),
        )
        table.add_row(*map(rich.text.Text, cells), style="bold" if report.ranking[:1] == [label] else None)
    return table


class Strip:
    """A small axis that all rows of the table share: a value's place on it, in percent of its width."""

    def __init__(self, report: Report):
        ends = [end for i in report.intervals.values() for end in (i.mean, i.low, i.high)]
        seeds = [value for run in report.study.finished() for value in [run.metrics[report.metric]]]
        known = [value for value in (*ends, *seeds) if math.isfinite(value)]
        self.low, self.high = min(known, default=0.0), max(known, default=1.0)

    def place(self, value: float) -> float:
        spread = (self.high - self.low) or 1.0
        return round(3 + 94 * (value - self.low) / spread, 2)


def _count(items: Sequence[Any], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _can_be_drawn(line: plots.Curve) -> bool:
    return line.steps.size > 1 and bool(np.isfinite(line.values).all())


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


# Provenance.


def _line(run: Run, costs: Mapping[str, int]) -> dict[str, Any]:
    return {
        "variant": run.variant,
        "seed": run.seed,
        "status": "finished" if run.result else "failed",
        "error": None if run.result else run.error or "ended without a result",
        "step": run.result.step if run.result else None,
        "metrics": dict(run.metrics),
        "step_time": run.result.step_time if run.result else None,
        "wall_time": run.result.wall_time if run.result else None,
        **costs,
        "digest": run.folder.name,
        "config": configs.to_json(run.config),
        "provenance": dict(run.provenance()),
    }


def origin(seen: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Device, commit and versions of what was `seen`, provenances as runs keep them."""
    versions = [provenance.get("versions", {}) for provenance in seen]
    packages = sorted({name for version in versions for name in version})
    names = [f"{name} {_distinct(v.get(name, '?') for v in versions)}" for name in packages]
    return [
        ("Device", _distinct(map(_device, seen))),
        ("Matmul precision", _distinct(str(one.get("matmul_precision", "default")) for one in seen)),
        ("Commit", _distinct(map(_commit, seen))),
        ("Python", _distinct(str(one.get("python", "unknown")) for one in seen)),
        ("Versions", ", ".join(names) or "unknown"),
    ]


def energy(runs: Iterable[Run]) -> str:
    """What the machine drew while all of `runs` were trained, as far as it has meters."""
    total: dict[str, float] = {}
    for run in runs:
        for kind, joules in run.result.joules.items() if run.result else ():
            total[kind] = total.get(kind, 0.0) + joules
    return numbers.show_energy(total)


def _device(provenance: Mapping[str, Any]) -> str:
    kind = provenance.get("device_kind", "unknown")
    name = f"{kind.upper()}, {provenance.get('cpu')}" if kind == "cpu" else kind
    count = provenance.get("cpu_cores")
    cores = f", {count} {'core' if count == 1 else 'cores'}" if count else ""
    return f"{provenance.get('device_count', '?')} × {name}{cores}"


def _commit(provenance: Mapping[str, Any]) -> str:
    commit = provenance.get("git_commit") or "unknown"
    return f"{commit[:12]}{' with uncommitted changes' if provenance.get('git_dirty') else ''}"


def _distinct(values: Iterable[str]) -> str:
    return " · ".join(dict.fromkeys(values)) or "unknown"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
