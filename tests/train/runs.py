"""Small runs that several tests make."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from train import config as configs
from train import step
from train.checkpoint import Checkpoints
from train.evaluators import Evaluation
from train.experiment import build
from train.mesh import MeshShape

SMALL = [
    "model.hidden_sizes=8",
    "model.dropout_rate=0.2",
    "data.batch_size=16",
    "optimizer.schedule.warmup_steps=0",
    "steps=20",
    "log_every=5",
]


def small(*overrides: str) -> ConfigDict:
    """An MLP on digits, for seconds."""
    return configs.load("configs/quickstart.py:mlp", [*SMALL, "evaluators.accuracy.every=10", *overrides])


def rows(folder: Path) -> list[dict[str, Any]]:
    """The log of a run, without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("step_time", "examples_per_second")} for row in lines]


def final_state(folder: Path, config: ConfigDict) -> step.TrainState:
    """The newest checkpoint of a run, as numpy arrays."""
    import jax

    experiment = build(config)
    steps = step.compile_steps(experiment.recipe, MeshShape().build(), experiment.spec)
    with Checkpoints(epath.Path(folder), experiment.checkpoint, {}, read_only=True) as checkpoints:
        state = checkpoints.restore(steps.abstract_state)
    assert state is not None
    return jax.tree.map(np.asarray, state)


def fresh(config: ConfigDict, folder: Path = Path("nowhere")) -> Evaluation:
    """What evaluators get of a run that has not begun."""
    experiment = build(config)
    mesh = experiment.mesh_shape.build()
    compiled = step.compile_steps(experiment.recipe, mesh, experiment.spec)
    return Evaluation(experiment, mesh, compiled.evaluate, compiled.init(0), epath.Path(folder))


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal bit by bit."""
    import jax

    return jax.tree.all(jax.tree.map(lambda x, y: x.tobytes() == y.tobytes(), a, b))


class StopAt:
    """A writer that sends this process a signal when the log reaches a step."""

    def __init__(self, step: int, number: int = signal.SIGTERM):
        self.step, self.number = step, number

    def write(self, row):
        if row["step"] == self.step:
            os.kill(os.getpid(), self.number)

    def close(self):
        pass
