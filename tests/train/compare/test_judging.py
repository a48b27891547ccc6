"""What a person sees while claims are judged: what runs measure, in words, and how long the whole will take."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from train import loop
from train.compare import claims, judging, lab
from train.compare.claims import Claim, Finding
from train.compare.claims_report import Shown
from train.errors import UserError

TRAINED = '''"""Width makes a network better."""

SECTION = "Planted"
SENTENCE = "Wide is better."


def run(lab):
    study = lab.train("widths", {{name: lab.load(f"{config}:{{name}}") for name in ("narrow", "wide")}}, axis=["model"])
    yield lab.exceeds("gap", lab.differences(study, "test/accuracy", "wide", "narrow"), 0)
'''


def claim(trains: bool) -> Claim:
    return Claim("C01", "t", "", "s", "s", lambda _: iter(()), "c.py", ("small", "full") if trains else ())


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
    left = judging.expected([finding(*one) for one in done], [claim(trains) for trains in waiting], "small")
    assert left == seconds


def test_what_trains_at_the_full_scale_only_is_known_by_its_function(tmp_path: Path) -> None:
    text = TRAINED.format(config="x").replace("C91", "C92").replace("def run(lab)", "def at_full_scale(lab)")
    (tmp_path / "c92_later.py").write_text(text + "\n\ndef run(lab):\n    yield lab.holds('it', True)\n")
    (tmp_path / "c91_always.py").write_text(TRAINED.format(config="x"))
    (tmp_path / "c93_never.py").write_text(
        text.partition("def at")[0] + "def run(lab):\n    yield lab.holds('it', True)\n"
    )
    found = claims.load(sorted(map(str, tmp_path.glob("c9*.py"))))
    assert [one.trains for one in found] == [("small", "full"), ("full",), ()]


@pytest.mark.parametrize(
    ("workdir", "page", "message"),
    [
        ("/proc/w", None, "--workdir: /proc/w cannot be made"),
        ("DIR/w", "DIR", "--results: DIR is a folder; name a file, such as RESULTS.md"),
        ("DIR/w", "/proc/w/R.md", "--results: /proc/w/docs cannot be made"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_judged(
    tmp_path: Path, workdir: str, page: str | None, message: str
) -> None:
    file = tmp_path / "c93_never.py"
    file.write_text(f"{TRAINED.partition('def run')[0]}def run(lab):\n    raise SystemExit('judged')\n")
    there = {name: text and text.replace("DIR", str(tmp_path)) for name, text in (("w", workdir), ("page", page))}
    with pytest.raises(UserError, match=message.replace("DIR", str(tmp_path))):
        judging.judge([str(file)], str(there["w"]), page=there["page"])


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
