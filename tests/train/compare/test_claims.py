"""Planted claims, written outside the tree: true, false, noisy, unfair and broken ones, judged by the command."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from train import loop
from train.compare import __main__ as command
from train.compare.claims_report import Shown
from train.errors import Diverged, Stopped, run_command

HEADER = '''"""Width makes a network more accurate by more than {threshold} points."""

SECTION = "Planted"
SENTENCE = "Wide is better."
'''

TRAINED = (
    HEADER
    + """

def run(lab):
    variants = {{name: lab.load(f"{config}:{{name}}"{overrides}) for name in ("narrow", "wide")}}
    study = lab.train("widths", variants, axis=["model.hidden_sizes"])
    points = [100 * one for one in lab.differences(study, "test/accuracy", "wide", "narrow")]
    yield lab.exceeds("wide - narrow", points, {threshold}, " points")
"""
)

COUNTED = (
    HEADER
    + """

def run(lab):
    yield lab.equal("weights", lab.layer("Dense", (3,), features=4, use_bias=False).parameters, 12)
"""
)


EMPTY = (
    HEADER
    + """

def run(lab):
    yield from ()
"""
)


@pytest.fixture
def judge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake_train: Any
) -> Callable[..., tuple[int, dict[str, dict[str, Any]]]]:
    """Runs the command with the stand-in in the loop's place, and reads what it wrote; charts take long to draw."""
    monkeypatch.setattr(loop, "train", fake_train)
    monkeypatch.setattr(Shown, "charts", [])

    def run(*flags: Any) -> tuple[int, dict[str, dict[str, Any]]]:
        monkeypatch.setattr(sys, "argv", ["train.compare", *map(str, flags), f"--workdir={tmp_path}/w"])
        try:
            code = run_command(command.main)
        except SystemExit as ending:
            code = int(ending.code or 0)
        written = tmp_path / "w" / "results.jsonl"
        rows = [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []
        return code, {row["id"]: row for row in rows}

    return run


@pytest.fixture
def plant(tmp_path: Path, config_file: str) -> Callable[..., Path]:
    """Writes a claim file; `threshold` decides whether a claim about a gap of 4.8 points is true."""

    def write(name: str, text: str = TRAINED, threshold: float = 0, overrides: str = "") -> Path:
        file = tmp_path / f"{name}.py"
        file.write_text(text.format(config=config_file, threshold=threshold, overrides=overrides))
        return file

    return write


def test_true_is_supported_and_false_refuted_and_the_same_command_trains_nothing(
    judge: Any, plant: Any, fake_train: Any, capsys: Any
) -> None:
    files = plant("c91_true", threshold=4), plant("c92_false", threshold=6)
    code, found = judge(*files, "--seeds=3")
    assert code == 0 and {name: row["answer"] for name, row in found.items()} == {"C91": "supported", "C92": "refuted"}
    assert found["C92"]["why"].startswith("wide - narrow: 4.8 ± ")
    assert found["C92"]["why"].endswith(" points, wanted > 6 points")
    assert [run["metrics"]["test/accuracy"] for run in found["C91"]["runs"]] == pytest.approx(
        [0.916, 0.918, 0.92, 0.964, 0.966, 0.968]
    )
    assert len(fake_train.calls) == 6  # The second claim found the runs of the first.
    assert "2 claims: 1 supported, 1 refuted" in capsys.readouterr().out

    code, again = judge(*files, "--seeds=3")
    assert code == 0 and len(fake_train.calls) == 6
    assert [row["checks"] for row in again.values()] == [row["checks"] for row in found.values()]


def test_two_noisy_seeds_are_underpowered_with_the_number_that_would_decide(
    judge: Any, plant: Any, fake_train: Any
) -> None:
    noise = {(16, 0): 0.90, (16, 1): 0.90, (64, 0): 0.91, (64, 1): 0.95}
    fake_train.metrics = lambda width, seed: {"test/accuracy": noise[width, seed]}
    code, found = judge(plant("c93_noisy"), "--seeds=2")
    assert code == 0 and found["C93"]["answer"] == "underpowered"
    # Points 1 and 5: s = 2.83; the first n with t(n - 1) · s / √n < 3 is 6 (t = 2.571: 2.97).
    assert found["C93"]["why"].endswith("(about 6 seeds would decide)")


def test_an_unfair_pair_is_stopped_and_named(judge: Any, plant: Any, fake_train: Any) -> None:
    code, found = judge(plant("c94_unfair", overrides=", f\"steps={40 if name == 'narrow' else 80}\""), "--seeds=2")
    assert code == 3 and not fake_train.calls
    assert found["C94"]["answer"] == "no verdict" and "steps: 40 against 80" in found["C94"]["error"]


def test_a_claim_that_crashes_has_no_verdict_and_the_others_go_on(judge: Any, plant: Any, tmp_path: Path) -> None:
    crash = COUNTED + "    1 / 0\n"
    code, found = judge(plant("c95_crashes", crash), plant("c96_counts", COUNTED), plant("c97_says_nothing", EMPTY))
    assert code == 3 and list(found) == ["C95", "C96", "C97"]
    assert found["C95"]["answer"] == found["C95"]["agreement"] == "no verdict"
    assert found["C95"]["error"] == "ZeroDivisionError: division by zero (c95_crashes.py:9)"
    assert len(found["C95"]["checks"]) == 1  # What it had measured by then is not lost.
    assert (found["C96"]["answer"], found["C96"]["error"]) == ("supported", None)
    assert "needs a check of the article's sentence" in found["C97"]["error"]
    page = (tmp_path / "w" / "report.html").read_text()
    assert "ZeroDivisionError" in page and "1 supported" in page


def test_a_failed_run_leaves_its_claim_without_verdict(judge: Any, plant: Any, fake_train: Any, tmp_path: Path) -> None:
    fake_train.failures = {2: Diverged("loss is nan at step 3")}
    files = plant("c91_true"), plant("c96_counts", COUNTED)
    code, found = judge(*files, "--seeds=2")
    assert code == 3 and found["C96"]["answer"] == "supported"
    assert found["C91"]["error"] == "1 of 4 runs failed: wide seed 0 (diverged: loss is nan at step 3)"
    assert [run["error"] for run in found["C91"]["runs"]] == [None, None, "diverged: loss is nan at step 3", None]
    fake_train.failures = {}
    code, again = judge(*files, "--seeds=2")
    assert code == 3 and len(fake_train.calls) == 4 and again["C91"]["error"] == found["C91"]["error"]
    (diverged,) = (tmp_path / "w").rglob("diverged.txt")
    diverged.unlink()
    code, found = judge(*files, "--seeds=2")
    assert code == 0 and len(fake_train.calls) == 5 and found["C91"]["answer"] == "supported"


def test_a_claim_may_count_runs_that_diverge(judge: Any, plant: Any, fake_train: Any) -> None:
    allowed = TRAINED.replace('axis=["model.hidden_sizes"]', 'axis=["model.hidden_sizes"], may_diverge=True')
    counts = allowed + '    yield lab.equal("diverged", sum(run.diverged for run in study.runs), 1)\n'
    fake_train.failures = {2: Diverged("loss is nan at step 3")}
    code, found = judge(plant("c91_counts", counts), "--seeds=3")
    assert code == 0 and [check["measured"] for check in found["C91"]["checks"]][1:] == ["1"]
    assert [run["seed"] for run in found["C91"]["runs"] if run["error"]] == [0]
    fake_train.failures = {len(fake_train.calls) + 1: ValueError("out of memory")}
    code, found = judge(plant("c91_counts", counts), "--seeds=4")
    assert code == 3 and found["C91"]["error"].startswith(
        "1 of 8 runs failed: narrow seed 3 (ValueError: out of memory"
    )


def test_a_signal_ends_the_whole(judge: Any, plant: Any, fake_train: Any) -> None:
    fake_train.failures = {2: Stopped("saved at step 3")}
    code, found = judge(plant("c91_true"), plant("c96_counts", COUNTED), "--seeds=2")
    assert code == 75 and not found


def test_only_judges_those_named_in_the_order_of_their_ids(judge: Any, plant: Any) -> None:
    files = [plant(f"c{number}_counts", COUNTED) for number in (98, 96, 97)]
    code, found = judge(*files, "--only=c98,C96")
    assert code == 0 and list(found) == ["C96", "C98"]
    assert found["C98"]["command"].endswith(f"--workdir={files[0].parent}/w --only=C98")


@pytest.mark.parametrize(
    ("names", "text", "flags", "message"),
    [
        (["c96_counts"], COUNTED, ["--only=C95"], "--only: C95 is not among the claims; did you mean 'C96'?"),
        (["c96_counts", "c96_again"], COUNTED, [], "c96_again.py: its id C96 is that of"),
        (
            ["c96_counts"],
            COUNTED.replace("SECTION", "PART"),
            [],
            "c96_counts.py: a claim needs SECTION; configs/claims",
        ),
        (["c96_counts"], '"""Nothing to run."""', [], "defines no run(…): it is not a claim file"),
        (["counts"], COUNTED, [], "a claim's file begins with its id and an underscore"),
        (["c96_counts"], COUNTED, ["--vary", "model.cell=gru,lstm"], "claims say themselves what is compared"),
        (["c96_counts"], COUNTED, ["--config=configs/mnist.py"], "give either --config=FILE.py or claim files"),
        (["c96_counts"], COUNTED, ["--seeds=0"], "at least 1"),
    ],
)
def test_mistakes_give_2_one_line_and_no_file(
    judge: Any, plant: Any, tmp_path: Path, capsys: Any, names: list[str], text: str, flags: list[str], message: str
) -> None:
    code, _ = judge(*[plant(name, text) for name in names], *flags)
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "w").exists()
