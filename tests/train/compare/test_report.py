"""The report: complete, self-contained, escaped, honest about what it does not know."""

import datetime
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath
from rich.console import Console

from train.compare import lab, labels, numbers, plots, report, variants
from train.compare.statistics import Interval
from train.errors import Diverged

DATE = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)


def study_of(folder: Path, config_file: str, fake_train: Any, seeds: int = 3, **options: Any) -> lab.Study:
    compared = variants.load(config_file, **options)
    return lab.Lab(str(folder), train_run=fake_train).train(compared, range(seeds))


def report_of(study: lab.Study, metric: str = "test/accuracy", **options: Any) -> report.Report:
    costs = {label: {"parameters": 61_706 + i, "flops_forward": 846_000 + i} for i, label in enumerate(study.variants)}
    return report.Report(study, costs, metric=metric, title="A title", date=DATE, **options)


def written(made: report.Report, folder: Path) -> tuple[str, str]:
    """The page and the document, without charts, which take long to draw."""
    made.charts = []
    report.write(made, epath.Path(folder))
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


def loads_nothing(html: str) -> bool:
    outside = re.findall(r"""(?:(?:src|href)\s*=|url\(|@import)\s*["']?([^"'#)\s>]+)""", html)
    return all(target.startswith("data:") for target in outside)


@pytest.fixture(scope="module")
def complete(
    tmp_path_factory: pytest.TempPathFactory, config_text: str, new_fake_train: Any
) -> tuple[Path, report.Report]:
    """A report of two variants and three seeds, drawn once for all tests that only read it."""
    folder = tmp_path_factory.mktemp("complete")
    (folder / "two.py").write_text(config_text)
    study = study_of(folder, str(folder / "two.py"), new_fake_train())
    made = report_of(study, command="python -m train.compare --seeds=3")
    report.write(made, epath.Path(folder))
    return folder, made


def test_all_files_are_there(complete: tuple[Path, report.Report]) -> None:
    folder, _ = complete
    names = ["test-accuracy-against-parameters", "test-accuracy-against-flops-forward"]
    names += ["test-accuracy-curve", "train-loss-curve"]
    expected = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert {file.name for file in (folder / "plots").iterdir()} == expected
    for target in re.findall(r"\]\((.*?)\)", (folder / "report.md").read_text()):
        assert (folder / target).read_bytes().startswith(b"\x89PNG")
    for file in (folder / "plots").glob("*.svg"):
        ElementTree.parse(file)


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_every_number_and_fact_is_there(complete: tuple[Path, report.Report], name: str) -> None:
    text = (complete[0] / name).read_text()
    for fact in ("narrow", "wide", "91.80 ± 0.50 %", "96.60 ± 0.50 %", "61,706", "846 k", "5 ms"):
        assert fact in text, fact
    for fact in ("0, 1, 2", "1 × CPU, a processor", "0123456789ab", "jax 0.10.2", "2026-01-02 03:04 UTC"):
        assert fact in text, fact
    for fact in ("Student-t", "Holm", "python -m train.compare --seeds=3", "+4.80 ± 0.00 points"):
        assert fact in text, fact


def test_page_loads_nothing_and_is_well_formed(complete: tuple[Path, report.Report]) -> None:
    html = (complete[0] / "report.html").read_text()
    assert html.count("<figure>") == html.count('role="img"') == 4
    assert "http" not in html and loads_nothing(html)
    assert not re.search(r"<(script|iframe|img|link rel=.stylesheet)", html)
    for drawing in re.findall(r"<svg viewBox.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(drawing.replace("xlink:href", "href"))
    assert not loads_nothing('<img src="https://example.org/x.png">') and not loads_nothing("url(x.woff)")


def test_page_takes_its_colours_and_font_from_the_theme(complete: tuple[Path, report.Report]) -> None:
    html = (complete[0] / "report.html").read_text()
    drawings = "".join(re.findall(r"<svg viewBox.*?</svg>", html, re.DOTALL))
    assert "var(--ink)" in drawings and "var(--c0)" in drawings and "var(--c1)" in drawings
    assert "DejaVu" not in drawings and plots.INK not in drawings and plots.COLOURS[0] not in drawings


def test_terminal_table(complete: tuple[Path, report.Report]) -> None:
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(report.terminal_table(complete[1]))
    text = console.export_text()
    for fact in ("narrow", "91.80 ± 0.50 %", "61,706", "846 k", "5 ms", "Student-t", "3 seeds"):
        assert fact in text, fact


def test_labels_and_errors_are_escaped(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    fake_train.failures = {1: Diverged('<b>nan</b> | "at" step 3')}
    compared = variants.load(config_file)
    hostile = {f"<script>{label}|$x$</script>&": config for label, config in compared.items()}
    study = lab.Lab(str(tmp_path), train_run=fake_train).train(hostile, range(3))
    html, markdown = written(report_of(study, about='a & "b" <i>'), tmp_path)
    assert "<script>" not in html and "<b>nan" not in html and "a &amp; &#34;b&#34; &lt;i&gt;" in html
    assert "&lt;script&gt;narrow|$x$&lt;/script&gt;&amp;" in html
    rows = [line for line in markdown.splitlines() if line.startswith("| <script>wide")]
    assert [len(re.split(r"(?<!\\)\|", row)) for row in rows] == [7, 5][: len(rows)]


def test_failed_runs_are_named_and_left_out(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    fake_train.failures = {2: Diverged("loss is nan at step 3")}
    study = study_of(tmp_path, config_file, fake_train)
    made = report_of(study)
    html, markdown = written(made, tmp_path)
    for text in (html, markdown):
        assert "1 of 6 runs failed" in text and "wide, seed 0: diverged: loss is nan at step 3" in text
        assert "2 of 3 seeds" in text
    assert made.intervals["wide"].mean == pytest.approx(0.967)
    assert [d.interval.n for d in made.differences] == [2]


def test_nothing_finished_still_gives_a_report(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    fake_train.failures = {call: Diverged("loss is nan") for call in range(1, 7)}
    made = report_of(study_of(tmp_path, config_file, fake_train))
    html, markdown = written(made, tmp_path)
    assert made.headline() == "No run finished." and not made.charts
    for text in (html, markdown):
        assert "6 of 6 runs failed" in text and "No run finished." in text
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 6


def test_one_seed_has_no_interval(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    made = report_of(study_of(tmp_path, config_file, fake_train, seeds=1))
    html, markdown = written(made, tmp_path)
    assert "96.40 ± – %" in html and "96.40 ± – %" in markdown and not re.search(r"\bnan\b", markdown)
    assert made.headline().endswith("1 seed cannot tell it from narrow.")


def test_results_hold_one_complete_line_per_run(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    fake_train.failures = {2: Diverged("loss is nan")}
    fake_train.metrics = lambda width, seed: {"test/accuracy": 0.9, "test/loss": float("inf")}
    study = study_of(tmp_path, config_file, fake_train, seeds=2)
    written(report_of(study), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(row["variant"], row["seed"], row["status"]) for row in rows] == [
        ("narrow", 0, "finished"),
        ("narrow", 1, "finished"),
        ("wide", 0, "failed"),
        ("wide", 1, "finished"),
    ]
    first = rows[0]
    assert first["metrics"] == {"test/accuracy": 0.9, "test/loss": None}
    assert (first["parameters"], first["flops_forward"], first["step"]) == (61_706, 846_000, 40)
    assert (first["step_time"], first["wall_time"], first["error"]) == (0.004, 2.5, None)
    assert first["config"]["model"]["hidden_sizes"] == [16] and first["config"]["seed"] == 0
    assert (tmp_path / "runs" / first["digest"] / "result.json").exists()
    assert first["provenance"]["git_commit"] and first["provenance"]["versions"]["jax"]
    assert rows[2]["error"] == "diverged: loss is nan" and rows[2]["metrics"] == {}


def test_the_same_numbers_draw_the_same_file() -> None:
    lines = {label: plots.Curve(np.arange(5), np.random.default_rng(0).uniform(size=(3, 5))) for label in "ab"}
    first, second = (plots.curves(lines, plots.looks("ab"), title="t") for _ in range(2))
    assert plots.to_svg(first) == plots.to_svg(second)
    assert plots.to_png(first) == plots.to_png(second)


@pytest.mark.parametrize("source, chance", [("adding", "0.1667"), ("copy_memory", "0.09452"), ("digits", None)])
def test_losses_are_drawn_with_chance_where_the_source_knows_it(
    tmp_path: Path, config_file: str, fake_train: Any, source: str, chance: str | None
) -> None:
    made = report_of(study_of(tmp_path, config_file, fake_train), metric="test/loss")
    for run in made.study.runs:
        run.config.unlock()
        run.config.data.source = {"name": source}
    chart = next(chart for chart in made.charts if chart.name == "train-loss-curve")
    assert (">chance<" in chart.svg) == (chance is not None)
    assert ("Chance" in chart.caption) == (chance is not None) and (chance or "") in chart.caption


def test_headline_says_no_more_than_the_seeds_show(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    sure = report_of(study_of(tmp_path / "sure", config_file, fake_train))
    assert sure.headline().startswith("wide comes first with 96.60 ± 0.50 % test accuracy, ahead of every other")
    noise = {(16, 0): 0.95, (16, 1): 0.90, (64, 0): 0.91, (64, 1): 0.96}
    fake_train.metrics = lambda width, seed: {"test/accuracy": noise[width, seed]}
    unsure = report_of(study_of(tmp_path / "unsure", config_file, fake_train, seeds=2))
    assert unsure.headline().endswith("; 2 seeds cannot tell it from narrow.")


def test_a_loss_is_better_when_lower(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    made = report_of(study_of(tmp_path, config_file, fake_train), metric="test/loss")
    assert made.ranking == ["wide", "narrow"]
    assert "0.3380 ± 0.0050" in made.shown("wide")
    assert "%" not in made.headline()


def test_differing_fields_are_those_of_the_variants(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    study = study_of(tmp_path, config_file, fake_train, vary=["model.activation=relu,tanh"], seeds=1)
    assert report_of(study).differing_fields() == [
        ("model.activation", ["relu", "tanh", "relu", "tanh"]),
        ("model.hidden_sizes", ["[16]", "[16]", "[64]", "[64]"]),
    ]


@pytest.mark.parametrize(
    ("metric", "interval", "expected"),
    [
        ("test/accuracy", Interval(0.98333, 0.00414, 3), "98.33 ± 0.41 %"),
        ("test/accuracy", Interval(0.98333, float("nan"), 1), "98.33 ± – %"),
        ("test/accuracy", Interval(float("nan"), float("nan"), 0), "–"),
        ("test/loss", Interval(0.071234, 0.00312, 3), "0.0712 ± 0.0031"),
        ("test/loss", Interval(1234.5, 67.8, 3), "1234 ± 68"),
        ("test/loss", Interval(-0.5, 0.0, 3), "−0.5000 ± 0.0000"),
    ],
)
def test_intervals_are_written_to_two_digits_of_their_width(metric: str, interval: Interval, expected: str) -> None:
    assert numbers.show_interval(metric, interval) == expected


def test_counts_and_times() -> None:
    counts = [0.05, 950, 999.9, 61_706, 999_960, 4.09e9]
    assert [numbers.show_count(n) for n in counts] == ["0.05", "950", "1 k", "61.7 k", "1 M", "4.09 G"]
    times = [8.5e-4, 0.00321, 1.234, float("nan")]
    assert [numbers.show_time(t) for t in times] == ["850 µs", "3.21 ms", "1.23 s", "–"]
    durations = [9.3, 59.99, 160, 11_100]
    expected = ["9.3 s", "1 min 00 s", "2 min 40 s", "3 h 05 min"]
    assert [numbers.show_duration(d) for d in durations] == expected
    assert numbers.show_p(0.0004) == "< 0.001" and numbers.show_p(float("nan")) == "–"


def test_energy_as_a_person_reads_it() -> None:
    assert numbers.show_energy({}) == "unavailable: no meter"
    assert numbers.show_energy({"cpu": 35.21, "gpu": 30_400.0}) == "CPU 35.2 J, GPU 30.4 kJ"


def test_names_are_moved_apart_in_order() -> None:
    assert labels.separate([0, 100], 10) == [0, 100]
    assert labels.separate([0, 2, 4, 50], 10) == [-8, 2, 12, 50]
    crowded = labels.separate(sorted(np.random.default_rng(0).uniform(0, 50, 20)), 10)
    assert np.diff(crowded).min() >= 10 - 1e-9


def test_more_variants_than_colours_are_told_apart_by_marks() -> None:
    drawn = plots.looks([str(i) for i in range(20)])
    assert len(set(drawn.values())) == 20


@pytest.mark.parametrize("costs", [(100, 100), (100, 102), (0, 50), (10, 10**9)])
def test_any_costs_can_be_drawn(costs: tuple[int, int]) -> None:
    points = {str(i): plots.Point(cost, Interval(0.9, 0.01, 3)) for i, cost in enumerate(costs)}
    look = plots.looks(list(points))
    assert plots.to_svg(plots.against_cost(points, look, title="t", xlabel="x", percent=True))
