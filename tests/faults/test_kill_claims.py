"""Killed in the middle of a trained claim and started again, the command ends with the same report."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

CONFIG = '''"""Two networks."""

from ml_collections import ConfigDict


def get_config(argument=""):
    return ConfigDict({
        "model": {"name": "mlp", "num_classes": 10, "hidden_sizes": (32,) if argument == "wide" else (4,)},
        "objective": {"name": "classification"},
        "data": {"source": {"name": "digits"}, "batch_size": 32, "cache": True},
        "optimizer": {"name": "adamw", "learning_rate": 1e-3},
        "evaluators": {"accuracy": {"every": 100}},
        "checkpoint": {"every": 50},
        "log_every": 50,
        "steps": 600,
    })
'''
CLAIM = '''"""Width makes a network more accurate."""

SECTION = "Planted"
SENTENCE = "Wide is better."


def run(lab):
    variants = {{name: lab.load(f"{config}:{{name}}") for name in ("narrow", "wide")}}
    study = lab.train("widths", variants, axis=["model.hidden_sizes"])
    yield lab.exceeds("wide - narrow", lab.differences(study, "test/accuracy", "wide", "narrow"), 0)
'''
TIMES = ("seconds", "wall_time", "command")


def start(claim: Path, folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "train.compare", str(claim), "--seeds=2", f"--workdir={folder}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def reported(folder: Path) -> Any:
    return [without_times(json.loads(line)) for line in (folder / "results.jsonl").read_text().splitlines()]


def finished(folder: Path) -> dict[str, str]:
    """The results of finished runs, by digest, as they are on disk."""
    return {file.parent.name: file.read_text() for file in folder.glob("runs/*/result.json")}


def begun(folder: Path) -> int:
    """Runs that have saved something."""
    return sum(any(place.name.isdigit() for place in run.iterdir()) for run in folder.glob("runs/*/checkpoints"))


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_claim_changes_nothing(tmp_path):
    (tmp_path / "two.py").write_text(CONFIG)
    claim = tmp_path / "c91_width.py"
    claim.write_text(CLAIM.format(config=tmp_path / "two.py"))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(claim, whole).wait() == 0

    process = start(claim, killed)
    while begun(killed) < 2 and process.poll() is None:  # One run is finished, and the next has got somewhere.
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was still running"
    before = finished(killed)
    assert 1 <= len(before) < 4 and not (killed / "results.jsonl").exists()

    assert start(claim, killed).wait() == 0
    after = finished(killed)
    assert len(after) == 4 and {name: after[name] for name in before} == before, "what was finished is used again"
    assert reported(killed) == reported(whole)
