"""The laboratory trains each run once, survives failures, and knows how long the rest takes."""

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from train import config as configs
from train.compare import lab, variants
from train.compare.progress import Progress, TimeLeft
from train.errors import Diverged, Stopped, UserError


def test_trains_every_variant_with_every_seed_and_never_again(
    tmp_path: Path, config_file: str, fake_train: Any
) -> None:
    compared = variants.load(config_file)
    study = lab.Lab(str(tmp_path / "w"), train_run=fake_train).train(compared, range(2))
    assert fake_train.calls == [(16, 0), (64, 0), (16, 1), (64, 1)]
    assert [(run.variant, run.seed) for run in study.runs] == [
        ("narrow", 0),
        ("narrow", 1),
        ("wide", 0),
        ("wide", 1),
    ]
    assert study.values("test/accuracy", "wide") == {0: pytest.approx(0.964), 1: pytest.approx(0.966)}

    again = lab.Lab(str(tmp_path / "w"), train_run=fake_train).train(compared, range(3))
    assert fake_train.calls[4:] == [(16, 2), (64, 2)]
    assert len(again.finished()) == 6 and not again.failed


def test_a_finished_run_serves_every_study_that_asks_for_its_config(
    tmp_path: Path, config_file: str, fake_train: Any
) -> None:
    workshop = lab.Lab(str(tmp_path), train_run=fake_train)
    workshop.train(variants.load(config_file), [0])
    other = variants.load(f"{config_file}:wide", ["model.activation=relu,tanh"], ["data.workers=0"])
    workshop.train(other, [0])
    assert fake_train.calls == [(16, 0), (64, 0), (64, 0)]  # relu was there under another name.


def test_curves_hold_the_steps_by_seed(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    study = lab.Lab(str(tmp_path), train_run=fake_train).train(variants.load(config_file), range(3))
    steps, values = study.curves("train/loss", "wide")
    np.testing.assert_array_equal(steps, [10, 20, 30, 40])
    np.testing.assert_allclose(values, np.broadcast_to(2.0 / steps, (3, 4)))


def test_failed_runs_are_reported_and_the_rest_go_on(tmp_path: Path, config_file: str, fake_train: Any) -> None:
    fake_train.failures = {2: Diverged("loss is nan at step 3"), 3: RuntimeError("out of\nmemory")}
    compared = variants.load(config_file)
    study = lab.Lab(str(tmp_path), train_run=fake_train).train(compared, range(2))
    assert len(fake_train.calls) == 4
    assert [(run.variant, run.seed) for run in study.failed] == [("narrow", 1), ("wide", 0)]
    crashed, diverged = study.failed
    assert diverged.error == "diverged: loss is nan at step 3"
    trace = f"runs/{crashed.folder.name}/error.txt"
    assert crashed.error == f"RuntimeError: out of memory (see {trace})"
    assert "Traceback" in (tmp_path / trace).read_text()

    again = lab.Lab(str(tmp_path), train_run=fake_train).train(compared, range(2))
    assert fake_train.calls[4:] == [(16, 1)], "what crashed; what diverged would diverge again"
    assert [run.error for run in again.failed] == [diverged.error] and not (tmp_path / trace).exists()

    (diverged.folder / "diverged.txt").unlink()
    last = lab.Lab(str(tmp_path), train_run=fake_train).train(compared, range(2))
    assert fake_train.calls[5:] == [(64, 0)] and not last.failed


@pytest.mark.parametrize("ending", [Stopped("saved"), UserError("no such data"), KeyboardInterrupt()])
def test_a_signal_or_a_mistake_ends_the_whole(
    tmp_path: Path, config_file: str, fake_train: Any, ending: BaseException
) -> None:
    fake_train.failures = {2: ending}
    with pytest.raises(type(ending)):
        lab.Lab(str(tmp_path), train_run=fake_train).train(variants.load(config_file), range(2))
    assert len(fake_train.calls) == 2


def test_measure_counts_one_example(config_file: str) -> None:
    costs = lab.measure(variants.load(f"{config_file}:wide")["wide"])
    assert costs["parameters"] == 64 * 64 + 64 + 64 * 10 + 10
    products = 2 * (64 * 64 + 64 * 10)
    assert products <= costs["flops_forward"] <= 1.05 * products


def test_measure_knows_that_fewer_texts_have_fewer_words() -> None:
    path = "configs/sst2.py:lstm:embedded"
    all_of_them, few = (lab.measure(configs.load(path, [f"data.train_fraction={part}"])) for part in (1.0, 0.005))
    assert few["parameters"] < all_of_them["parameters"]


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (["test/accuracy", "test/loss"], None, "test/accuracy"),
        (["test/loss"], None, "test/loss"),
        ([], None, "test/accuracy"),
        (["test/accuracy"], "test/loss", "test/loss"),
        (["validation/loss", "validation/accuracy"], None, "validation/accuracy"),
        (["test/bleu"], None, "test/bleu"),
    ],
)
def test_primary_metric(names: list[str], asked: str | None, expected: str) -> None:
    assert lab.primary_metric(names, asked) == expected


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_has_one_line_per_run(tmp_path: Path, config_file: str, fake_train: Any, terminal: bool) -> None:
    compared = variants.load(config_file)
    lab.Lab(str(tmp_path), train_run=fake_train).train(compared, [0])
    fake_train.failures = {4: Diverged("loss is nan [at step 3]")}
    said = io.StringIO()
    ticks = iter(range(1000))
    progress = Progress(
        Console(file=said, force_terminal=terminal, width=200, color_system=None),
        describe=lambda metrics: f"{metrics['test/accuracy']:.3f}",
        clock=lambda: float(next(ticks)),
    )
    lab.Lab(str(tmp_path), train_run=fake_train, progress=progress).train(compared, range(2))
    lines = said.getvalue()
    assert "1/4  narrow  seed 0  0.916  found, trained before" in lines
    assert "3/4  narrow  seed 1  0.918" in lines and " s left" in lines
    assert "4/4  wide    seed 1  failed after" in lines and "loss is nan [at step 3]" in lines
    assert ("━" in lines) == terminal


def test_progress_of_a_larger_whole_says_what_it_is_for_and_what_follows(
    tmp_path: Path, config_file: str, fake_train: Any
) -> None:
    said = io.StringIO()
    ticks = iter(range(1000))
    progress = Progress(Console(file=said, width=200), describe=lambda metrics: "", clock=lambda: 10.0 * next(ticks))
    progress.title, progress.after = "C22", 600.0
    lab.Lab(str(tmp_path), train_run=fake_train, progress=progress).train(variants.load(config_file), range(2))
    first, *_, last = said.getvalue().splitlines()
    left = re.fullmatch(r"C22  1/4  narrow  seed 0 .* left, 1\d min \d\d s of all", first)
    assert left and last.startswith("C22  4/4  wide ") and "left" not in last


def test_time_left_learns_from_each_variant() -> None:
    def run(variant: str, wall_time: float | None = None) -> Any:
        return SimpleNamespace(variant=variant, result=wall_time and SimpleNamespace(wall_time=wall_time))

    runs = [run("a"), run("b"), run("a"), run("b")]
    left = TimeLeft(runs)
    assert left.seconds(runs[0]) is None
    left.expect(runs[0], 10)
    assert left.seconds(runs[0], fraction=0.5) == 35  # All like the one that is half through.
    left.ended(runs[0], 90)  # Mostly compilation, which the next is spared.
    assert left.seconds() == 30
    left.ended(runs[1], 30)  # Never heard of until it ended.
    assert left.seconds() == 40
    assert left.seconds(runs[2], fraction=0.5) == 35
    assert TimeLeft([run("a", 8.0), run("a")]).seconds() == 8
