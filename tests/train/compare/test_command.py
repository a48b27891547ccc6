"""`python -m train.compare`: from flags to files and exit codes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from train import loop
from train.compare import __main__ as command
from train.compare import report
from train.errors import Diverged, Stopped, run_command


def run(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train.compare", *flags])
    try:
        return run_command(command.main)
    except SystemExit as ending:
        return int(ending.code or 0)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, fake_train: Any) -> Any:
    """The stand-in takes the loop's place, and no charts are drawn, since that takes long."""
    monkeypatch.setattr(loop, "train", fake_train)
    monkeypatch.setattr(report.Report, "charts", [])
    return fake_train


def test_trains_reports_and_then_only_redraws(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, config_file: str, trained: Any
) -> None:
    flags = [
        f"--config={config_file}",
        "--seeds=2",
        f"--workdir={tmp_path}/w",
        "--config.optimizer.learning_rate=0.01",
    ]
    assert run(monkeypatch, *flags) == 0
    said = capsys.readouterr().out
    for fact in (
        "4/4  wide    seed 1  test accuracy  96.60 %",
        "96.50 ± 1.27 %",
        "4,810",
        f"{tmp_path}/w/report.html",
    ):
        assert fact in said, fact
    html = (tmp_path / "w" / "report.html").read_text()
    assert "<h1>Two networks &lt;read&gt; digits</h1>" in html
    assert "The second is wider &amp; &#34;better&#34;." in html
    assert f"python -m train.compare --config={config_file} --seeds=2" in html
    rows = [json.loads(line) for line in (tmp_path / "w" / "results.jsonl").read_text().splitlines()]
    assert [row["config"]["optimizer"]["learning_rate"] for row in rows] == [0.01] * 4
    assert [row["parameters"] for row in rows] == [1210, 1210, 4810, 4810]

    assert run(monkeypatch, *flags) == 0
    assert len(trained.calls) == 4
    assert "found, trained before" in capsys.readouterr().out


def test_vary(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, config_file: str, trained: Any) -> None:
    flags = [f"--config={config_file}:wide", "--seeds=1", f"--workdir={tmp_path}/w"]
    assert run(monkeypatch, *flags, "--vary", "model.activation=relu,tanh", "--metric=test/loss") == 0
    html = (tmp_path / "w" / "report.html").read_text()
    assert "<h1>Two networks &lt;read&gt; digits: model.activation</h1>" in html
    assert "relu" in html and "tanh" in html and "Test loss" in html


def test_match_sizes_variants_and_says_how(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, config_file: str, trained: Any
) -> None:
    flags = [f"--config={config_file}:wide", "--seeds=1", f"--workdir={tmp_path}/w", "--match=parameters"]
    assert run(monkeypatch, *flags, "--vary", "model.hidden_sizes=(64,),(64,64)") == 0
    rows = [json.loads(line) for line in (tmp_path / "w" / "results.jsonl").read_text().splitlines()]
    assert rows[0]["parameters"] == 4810 and rows[1]["parameters"] == pytest.approx(4810, rel=0.02)
    sizes = rows[1]["config"]["model"]["hidden_sizes"]
    assert sizes[0] == sizes[1] < 64
    html = (tmp_path / "w" / "report.html").read_text()
    assert f"Equal parameters, those of hidden_sizes=(64,): hidden_sizes=(64,64) model.hidden_sizes=({sizes[0]}" in html


def test_a_failed_run_gives_3_and_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, config_file: str, trained: Any
) -> None:
    trained.failures = {1: Diverged("loss is nan at step 3")}
    assert run(monkeypatch, f"--config={config_file}", "--seeds=2", f"--workdir={tmp_path}/w") == 3
    assert "narrow, seed 0: diverged: loss is nan at step 3" in (tmp_path / "w" / "report.md").read_text()


def test_a_stopped_run_gives_75(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, config_file: str, trained: Any
) -> None:
    trained.failures = {2: Stopped("saved at step 3")}
    assert run(monkeypatch, f"--config={config_file}", "--seeds=2", f"--workdir={tmp_path}/w") == 75


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config=configs/absent.py"], "configs/absent.py"),
        (["--seed=3"], "did you mean '--seeds'"),
        (["--seeds=0"], "at least 1"),
        (["--seeds=many"], "--seeds"),
        (["--vary", "model.hidden=1,2"], "has no field 'hidden'"),
        (["--config.model.hidden_size=3"], "did you mean 'hidden_sizes'"),
        (["--config.data.batch_size=many"], "batch_size"),
        (["--config.model.activation=swoosh"], "swoosh"),
        (["--workdir=FILE"], "is a file"),
        (["--workdir=FILE/w"], "is a file"),
        (["--workdir=/proc/w"], "--workdir: /proc/w cannot be made"),
        (["--metric="], "--metric: names none"),
        (
            ["--config=FILE:narrow", "--match=flops"],
            "--match=flops: there is only narrow, and nothing to match it with",
        ),
        (
            ["--config=FILE:narrow", "--vary", "model.hidden_sizes=(4,),(8,)", "--match=parameters"],
            "compute the same: the width in which they differ is what --match=parameters chooses",
        ),
        (["--config=README.md"], "README.md is not a config file: those are Python files, such as configs/….py"),
    ],
)
def test_mistakes_give_2_one_line_and_no_file(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    tmp_path: Path,
    config_file: str,
    trained: Any,
    flags: list[str],
    message: str,
) -> None:
    before = sorted(tmp_path.rglob("*.*"))
    flags = [flag.replace("FILE", config_file) for flag in flags]
    given = {flag.partition("=")[0] for flag in flags}
    others = {"--config": config_file, "--workdir": f"{tmp_path}/w"}
    flags += [f"{flag}={value}" for flag, value in others.items() if flag not in given]
    assert run(monkeypatch, *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not trained.calls and not (tmp_path / "w").exists()
    assert [file for file in sorted(tmp_path.rglob("*.*")) if "__pycache__" not in str(file)] == before


def test_an_unknown_metric_names_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, config_file: str, trained: Any
) -> None:
    flags = [f"--config={config_file}", "--seeds=1", f"--workdir={tmp_path}/w", "--metric=test/acuracy"]
    assert run(monkeypatch, *flags) == 2
    assert "did you mean 'test/accuracy'?" in capsys.readouterr().err
    assert not (tmp_path / "w").exists(), "found before anything is trained"


@pytest.mark.slow
def test_with_the_real_loop(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, config_file: str) -> None:
    flags = [f"--config={config_file}", "--seeds=2", f"--workdir={tmp_path}/w", "--config.log_every=10"]
    assert run(monkeypatch, *flags) == 0
    rows = [json.loads(line) for line in (tmp_path / "w" / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 4 and all(row["status"] == "finished" for row in rows)
    assert all(0.2 < row["metrics"]["test/accuracy"] <= 1 for row in rows)
    assert all(row["provenance"]["versions"]["jax"] for row in rows)
    assert len(list((tmp_path / "w" / "plots").glob("*.png"))) == 4
    capsys.readouterr()
    assert run(monkeypatch, *flags) == 0
    assert capsys.readouterr().out.count("found, trained before") == 4
