"""Two processes joined over loopback compute the curve of one, and stop together when one is told to."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.train.runs import rows
from train.errors import STOPPED, USER_ERROR

FLAGS = [
    "--config=configs/quickstart.py:mlp",
    "--config.model.normalization=batch",
    "--config.model.dropout_rate=0.2",
    "--config.data.augmentation.random_shift.pixels=1",
    "--config.data.batch_size=32",
    "--config.log_every=1",
    "--config.evaluators.accuracy.every=10",
]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folders: list[Path], *flags: str) -> list[subprocess.Popen]:
    """Training by one process for each folder, joined to one job."""
    return start_commands([["train", *FLAGS, *flags, f"--workdir={folder}"] for folder in folders])


def start_commands(commands: list[list[str]]) -> list[subprocess.Popen]:
    """One process for each command, joined to one job."""
    port, processes = free_port(), len(commands)
    started = []
    for number, command in enumerate(commands):
        job = {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(processes),
            "JAX_PROCESS_ID": str(number),
        }
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        environment = {**os.environ, **(job if processes > 1 else {})}
        started.append(subprocess.Popen([sys.executable, "-m", *command], env=environment, **pipes))
    return started


def finish(processes: list[subprocess.Popen], code: int = 0) -> None:
    for process in processes:
        try:
            output, _ = process.communicate(timeout=300)
        finally:
            process.kill()  # None is left behind by a test that fails.
        assert process.returncode == code, output
        assert "Traceback" not in output


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [[], ["--config.mesh.data=1", "--config.mesh.model=2"]], ids=["data", "tensor"])
def test_two_processes_compute_the_curve_of_one(tmp_path, mesh):
    finish(start([tmp_path / "one"], "--config.steps=20"))
    finish(start([tmp_path / "two"] * 2, "--config.steps=20", *mesh))
    assert json.loads((tmp_path / "two" / "provenance.json").read_text())["process_count"] == 2
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row.keys() for row in one] == [row.keys() for row in two]
    for ours, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-4)
        if "train/loss" in ours:
            np.testing.assert_allclose(ours["train/loss"], theirs["train/loss"], rtol=1e-5)


VIT = ["hidden_size=8", "num_layers=2", "num_heads=2", "mlp_size=8", "patch_size=4", "pool=token", "scan_layers=True"]


@pytest.mark.slow
def test_two_processes_export_what_one_does(tmp_path):
    """Each of them holds a half of the weights."""
    fields = [f"--config.model.{field}" for field in VIT]
    flags = [*fields, "--config.data.batch_size=32", "--config.steps=3", "--config.optimizer.ema_decay=0.5"]
    cut = ["--config.mesh.data=1", "--config.mesh.fsdp=2"]
    work = f"--workdir={tmp_path / 'run'}"
    finish(start_commands([["train", "--config=configs/quickstart.py:vit", *flags, *cut, work]] * 2))
    finish(start_commands([["train.pretrained", work, f"--output={tmp_path / 'two'}"]] * 2))
    one = ["train.pretrained", work, f"--output={tmp_path / 'one'}", "--config.mesh.fsdp=1"]
    finish(start_commands([one]))
    files = {file.name: file.read_bytes() for file in (tmp_path / "one").iterdir()}
    assert sorted(files) == ["config.json", "model.safetensors"]
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "two").iterdir()}


@pytest.mark.slow
def test_all_processes_stop_where_one_is_told_to(tmp_path):
    folder = tmp_path / "run"
    flags = ["--config.steps=4000", "--config.checkpoint.every=20"]
    processes = start([folder] * 2, *flags)
    while not (folder / "checkpoints" / "40").exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    finish(processes, STOPPED)
    stopped_at = max(int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit())
    assert 40 <= stopped_at < 4000


@pytest.mark.slow
def test_folders_that_are_not_shared_are_refused(tmp_path):
    finish(start([tmp_path / "one", tmp_path / "other"], "--config.steps=20"), USER_ERROR)
    assert not (tmp_path / "one" / "config.json").exists()
