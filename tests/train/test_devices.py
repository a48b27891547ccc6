"""The same curve on one device and on many, however they are arranged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
