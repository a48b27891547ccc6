"""Killed at random moments and started again, a run ends with the parameters of one that was never interrupted."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.runs import final_state, rows, same
from train import config as configs
from train.errors import STOPPED

OVERRIDES = [
    "model.normalization=batch",
    "model.dropout_rate=0.2",
    "data.augmentation.random_shift.pixels=1",
    "optimizer.ema_decay=0.9",
    "checkpoint.every=20",
    "checkpoint.keep_last=2",
    "log_every=10",
    "steps=600",
]
CONFIG = "configs/quickstart.py:mlp"


def start(folder: Path) -> subprocess.Popen:
    flags = [f"--config.{override}" for override in OVERRIDES]
    return subprocess.Popen(
        [sys.executable, "-m", "train", f"--config={CONFIG}", *flags, f"--workdir={folder}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def saved(folder: Path) -> int:
    """The newest step on disk; 0 before the first."""
    folder = folder / "checkpoints"
    return max((int(p.name) for p in folder.glob("*") if p.name.isdigit()), default=0) if folder.exists() else 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(folder).wait() == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_three_kills_change_nothing(tmp_path, uninterrupted, number):
    moments = random.Random(0)
    folder = tmp_path / "run"
    reached = [0]
    for _ in range(3):
        process = start(folder)
        while saved(folder) < reached[-1] + 40 and process.poll() is None:  # It has got somewhere, …
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))  # … and is now anywhere between two steps or within a checkpoint.
        process.send_signal(number)
        code = process.wait()
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else STOPPED), "it was still running"
        reached.append(saved(folder))
    assert reached == sorted(set(reached)) and reached[-1] < 600, "each part went on from the one before"
    assert start(folder).wait() == 0
    config = configs.load(CONFIG, OVERRIDES)
    assert same(final_state(folder, config), final_state(uninterrupted, config))
    if number == signal.SIGKILL:  # A signal that asks leaves a line of its own in the log.
        assert rows(folder) == rows(uninterrupted)
