"""What the loop costs beside the compiled step: python -m train.bench --config=configs/quickstart.py:lenet [--json].

Each round times the bare step (one batch that is on the device already, again and again) before and after the same
number of steps of the loop (with its data, log and copies), so that both meet the same machine. The overhead is the
median over rounds.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from train import config as configs
from train import loop, provenance
from train import mesh as meshes
from train.commands import Parser, split_overrides
from train.data import TrainingBatches
from train.errors import UserError, run_command
from train.experiment import Experiment, build
from train.step import compile_steps


def main(argv: Sequence[str] | None = None) -> None:
    command = Parser("train.bench", __doc__)
    command.add_argument("--config", required=True, help="a config file and its argument: configs/mnist.py:lenet")
    command.add_argument("--steps", type=int, default=200, help="steps in one measurement (200)")
    command.add_argument("--rounds", type=int, default=3, help="measurements of each (3)")
    command.add_argument("--json", action="store_true", help="print the numbers with their provenance")
    arguments, overrides = split_overrides(command, argv)
    for flag, least in (("steps", 8), ("rounds", 1)):
        if getattr(arguments, flag) < least:
            raise UserError(f"--{flag}: {getattr(arguments, flag)} is too few; at least {least}.")
    config = configs.load(
        arguments.config, [*overrides, f"steps={arguments.steps}", f"log_every={arguments.steps // 4}"]
    )
    numbers = measure(config, arguments.rounds)
    if arguments.json:
        origin = provenance.collect(seed=config.seed, matmul_precision=config.matmul_precision)
        print(json.dumps({**numbers, "config": configs.to_json(config), "provenance": origin}, indent=2))
    else:
        step, run = 1e3 * numbers["bare_step_seconds"], 1e3 * numbers["loop_step_seconds"]
        print(f"bare step {step:.2f} ms   loop {run:.2f} ms   overhead {100 * numbers['overhead']:+.1f} %")


def measure(config: ConfigDict, rounds: int) -> dict[str, Any]:
    """Seconds for one step, bare and in the loop, and the overhead of the loop as a fraction."""
    experiment = build(config)
    bare, looped, overheads = [], [], []
    for _ in range(rounds):
        before = bare_step(experiment)
        with tempfile.TemporaryDirectory() as folder:
            result = loop.train(config, folder)
        step = (before + bare_step(experiment)) / 2
        assert result.step_time is not None, "a measurement has more than one step"
        bare.append(step)
        looped.append(result.step_time)
        overheads.append(result.step_time / step - 1)
    return {
        "bare_step_seconds": statistics.median(bare),
        "loop_step_seconds": statistics.median(looped),
        "overhead": statistics.median(overheads),
        "overheads": overheads,
    }


def bare_step(experiment: Experiment) -> float:
    """Seconds for one compiled step on a batch that is on the device."""
    mesh = experiment.mesh_shape.build()
    steps = compile_steps(experiment.recipe, mesh, experiment.spec)
    rows = meshes.local_rows(mesh, experiment.data.batch_size)
    batches = TrainingBatches(experiment.data, experiment.view, experiment.run.seed, 1, rows)
    batch = meshes.put_batch(mesh, batches[0], rows, experiment.data.batch_size)
    with jax.set_mesh(mesh), jax.default_matmul_precision(experiment.run.matmul_precision):
        state, metrics = steps.train(steps.init(experiment.run.seed), batch)
        jax.block_until_ready(metrics)
        start = time.monotonic()
        for _ in range(experiment.run.steps - 1):
            state, metrics = steps.train(state, batch)
        jax.block_until_ready(state)
        return (time.monotonic() - start) / (experiment.run.steps - 1)


if __name__ == "__main__":
    sys.exit(run_command(main))
