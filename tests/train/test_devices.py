"""The same curve on one device and on many, however they are arranged."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train.runs import SMALL, rows

ROOT = Path(__file__).resolve().parents[2]


def curves(dtype: str) -> dict[str, dict[str, list[float]]]:
    command = [sys.executable, str(Path(__file__).parent / "curves.py"), dtype]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return json.loads(
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, text=True).stdout
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
def test_curves_agree(dtype, tolerance):
    for model, by_mesh in curves(dtype).items():
        assert len(by_mesh) > 1
        for name, curve in by_mesh.items():
            np.testing.assert_allclose(curve, by_mesh["one"], rtol=tolerance, err_msg=f"{model} on {name}")


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(tmp_path):
    """Half on one device, half on eight that hold the parameters in parts, ends where one device ends."""

    def train(folder: Path, devices: int, *flags: str) -> list[dict]:
        given = [f"--config.{flag}" for flag in (*SMALL, "log_every=1", "checkpoint.every=10", *flags)]
        command = [sys.executable, "-m", "train", "--config=configs/quickstart.py:mlp", *given, f"--workdir={folder}"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}, check=True)
        return rows(folder)

    one = train(tmp_path / "one", 1)
    train(tmp_path / "both", 1)
    (tmp_path / "both" / "result.json").unlink()
    shutil.rmtree(tmp_path / "both" / "checkpoints" / "20")
    both = train(tmp_path / "both", 8, "mesh.data=2", "mesh.fsdp=4")
    assert json.loads((tmp_path / "both" / "provenance.json").read_text())["resumed"][0]["device_count"] == 8
    assert both[:10] == one[:10]
    for ours, theirs in zip(both, one, strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-5)
