"""What a person sees while claims are judged: what runs measure, in words, and how long the whole will take."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from train import loop
from train.compare import judging, lab
from train.compare.claims import Claim, Finding
from train.compare.claims_report import Shown

TRAINED = '''"""Width makes a network better."""

SECTION = "Planted"
SENTENCE = "Wide is better."


def run(lab):
    study = lab.train("widths", {{name: lab.load(f"{config}:{{name}}") for name in ("narrow", "wide")}}, axis=["model"])
    yield lab.exceeds("gap", lab.differences(study, "test/accuracy", "wide", "narrow"), 0)
'''


def claim(trains: bool) -> Claim:
    return Claim("C01", "t", "", "s", "s", lambda _: iter(()), "c.py", trains)


def finding(trains: bool, seconds: float) -> Finding:
    return Finding(claim(trains), (), (), {}, seconds)


def test_each_run_is_named_with_its_claim_and_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config_file: str, fake_train: Any
) -> None:
    monkeypatch.setattr(loop, "train", fake_train)
    monkeypatch.setattr(Shown, "charts", [])
    file = tmp_path / "c91_true.py"
    file.write_text(TRAINED.format(config=config_file))
    said = io.StringIO()
    judging.judge([str(file)], str(tmp_path / "w"), seeds=2, console=Console(file=said, width=300))
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("C91  1/4  narrow  seed 0  test accuracy  91.60 %")
    assert lines[4].startswith("1/1  C91  supported") and "{" not in said.getvalue()


@pytest.mark.parametrize(
    ("done", "waiting", "seconds"),
    [
        ([], [False], None),
        ([(False, 2.0), (False, 4.0)], [False, False], 6.0),
        ([(False, 2.0)], [False, True], None),  # Nobody knows yet how long those take that train.
        ([(False, 2.0), (True, 100.0)], [False, True, True], 202.0),
        ([(True, 100.0)], [True], 100.0),
        ([(True, 100.0)], [], 0.0),
    ],
)
def test_time_left_tells_claims_that_train_from_those_that_count(
    done: list[tuple[bool, float]], waiting: list[bool], seconds: float | None
) -> None:
    assert judging.expected([finding(*one) for one in done], [claim(trains) for trains in waiting]) == seconds


@pytest.mark.parametrize(
    ("metrics", "asked", "words"),
    [
        ({"test/loss": 0.5, "test/accuracy": 0.91}, None, "test accuracy  91.00 %"),
        ({"test/loss": 0.5}, None, "test loss      0.5"),
        ({"test/accuracy": 0.91, "test/loss": 0.5}, "test/loss", "test loss      0.5"),
        ({"validation/accuracy": 0.25}, None, "validation accuracy  25.00 %"),
        ({}, None, ""),
    ],
)
def test_metrics_in_words(metrics: dict[str, float], asked: str | None, words: str) -> None:
    assert lab.described(metrics, asked) == words
