"""A config with two variants, and a stand-in for the training loop that counts its calls."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from etils import epath

from train import config as configs
from train import loop, writers
from train import workdir as workdirs

CONFIG = '''"""Two networks <read> digits.

The second is wider & "better".
"""

from ml_collections import ConfigDict

VARIANTS = ("narrow", "wide")


def get_config(argument=""):
    if argument not in ("", *VARIANTS):
        raise ValueError(f"argument {argument!r} is not known")
    return ConfigDict({
        "model": {"name": "mlp", "num_classes": 10, "hidden_sizes": (64,) if argument == "wide" else (16,)},
        "objective": {"name": "classification"},
        "data": {"source": {"name": "digits"}, "batch_size": 64, "cache": True},
        "optimizer": {"name": "adamw", "learning_rate": 1e-3},
        "evaluators": {"accuracy": {"every": 10}},
        "steps": 40,
    })
'''


class FakeTrain:
    """Writes what `train.loop.train` would, in no time; accuracies depend on width and seed."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], int]] = []
        self.failures: dict[int, BaseException] = {}  # By the number of the call.
        self.metrics: Callable[[int, int], dict[str, float]] = lambda width, seed: {
            "test/accuracy": 0.9 + width / 1000 + seed / 500,
            "test/loss": 0.4 - width / 1000 + seed / 500,
        }

    def __call__(self, config: Any, workdir: Any, *, writer: writers.Writer | None = None) -> loop.Result:
        folder = epath.Path(workdir)
        width, seed = config.model.hidden_sizes[0], config.seed
        self.calls.append((width, seed))
        folder.mkdir(parents=True, exist_ok=True)
        workdirs.write_json(folder / "config.json", configs.to_json(config))
        workdirs.write_json(folder / "provenance.json", PROVENANCE | {"seed": seed})
        if len(self.calls) in self.failures:
            raise self.failures[len(self.calls)]
        rows = writers.JsonLines(folder, 0)
        metrics = self.metrics(width, seed)
        for step in range(10, config.steps + 1, 10):
            for row in ({"step": step, "train/loss": 2.0 / step}, {"step": step, **metrics}):
                rows.write(row)
                if writer:
                    writer.write(row)
        rows.close()
        result = loop.Result(configs.digest(config), config.steps, metrics, 0.004 + seed / 1000, 2.5)
        workdirs.write_json(folder / "result.json", dataclasses.asdict(result))
        return result


PROVENANCE = {
    "git_commit": "0123456789abcdef",
    "git_dirty": False,
    "python": "3.11.9",
    "versions": {"jax": "0.10.2", "flax": "0.12.8"},
    "device_platform": "cpu",
    "device_kind": "cpu",
    "device_count": 1,
    "process_count": 1,
    "cpu": "a processor",
    "matmul_precision": "highest",
    "started": "2026-01-01T00:00:00+00:00",
}


@pytest.fixture(scope="session")
def new_fake_train() -> type[FakeTrain]:
    return FakeTrain


@pytest.fixture(scope="session")
def config_text() -> str:
    return CONFIG


@pytest.fixture
def fake_train() -> FakeTrain:
    return FakeTrain()


@pytest.fixture
def config_file(tmp_path: Path, config_text: str) -> str:
    file = tmp_path / "two.py"
    file.write_text(config_text)
    return str(file)
