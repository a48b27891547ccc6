"""Evaluates the newest checkpoint of a run: python -m train.evaluate --workdir=runs/lenet [--config.evaluators.… …].

Fields of the evaluators may be changed, and evaluators added (--config.evaluators.shift_robustness.max_shift=3).
"""

import json
import logging
import sys
from collections.abc import Sequence

import jax
from etils import epath

from train import evaluators, mesh, workdir
from train.checkpoint import Checkpoints
from train.commands import Parser, split_overrides
from train.errors import UserError, run_command
from train.experiment import of_run
from train.step import compile_steps


def main(argv: Sequence[str] | None = None) -> None:
    command = Parser("train.evaluate", __doc__)
    command.add_argument("--workdir", required=True, help="folder of the run")
    arguments, overrides = split_overrides(command, argv)
    mesh.initialize_distributed()
    numbers = evaluate(workdir.at(arguments.workdir), overrides)
    if jax.process_index() == 0:
        print(json.dumps(numbers, indent=2))


def evaluate(folder: epath.Path, overrides: list[str]) -> dict[str, float]:
    """Runs all evaluators of a run on its newest whole checkpoint, and writes `evaluation.json` beside it.

    Raises:
        UserError: there is no run or no whole checkpoint, or an override would change what was trained.
    """
    experiment = of_run(folder, overrides)
    device_mesh = experiment.mesh_shape.build()
    mesh.check_batch_size(device_mesh, experiment.data.batch_size, 1)
    compiled = compile_steps(experiment.recipe, device_mesh, experiment.spec)
    with jax.set_mesh(device_mesh), jax.default_matmul_precision(experiment.run.matmul_precision):
        with Checkpoints(folder, experiment.checkpoint, {}, read_only=True) as checkpoints:
            state = checkpoints.restore(compiled.abstract_state)
        if state is None:
            raise UserError(f"{folder} holds no whole checkpoint; train it first.")
        evaluation = evaluators.Evaluation(experiment, device_mesh, compiled.evaluate, state, folder)
        numbers = evaluation.run(experiment.evaluators)
    if jax.process_index() == 0:
        workdir.write_json(folder / "evaluation.json", {"step": int(state.step), **numbers})
    return numbers


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(main))
