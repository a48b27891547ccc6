"""Evaluates the newest checkpoint of a run: python -m train.evaluate --workdir=runs/lenet [--config.evaluators.… …].

Fields of the evaluators may be changed, and evaluators added (--config.evaluators.shift_robustness.max_shift=3).
With --evaluator=cka,attention_distance these alone run, whether or not the run's own config has them.
"""

import json
import logging
import sys
from collections.abc import Sequence

import jax
from etils import epath

from train import evaluators, mesh, plugins, workdir
from train.checkpoint import Checkpoints
from train.commands import Parser, split_overrides
from train.errors import UserError, nearest, run_command
from train.experiment import Experiment, of_run
from train.step import CompiledSteps, TrainState, compile_steps


def main(argv: Sequence[str] | None = None) -> None:
    command = Parser("train.evaluate", __doc__)
    command.add_argument("--workdir", required=True, help="folder of the run")
    command.add_argument("--evaluator", help="runs only these, separated by commas; adds them where needed")
    arguments, overrides = split_overrides(command, argv)
    only = [] if arguments.evaluator is None else arguments.evaluator.split(",")
    mesh.initialize_distributed()
    numbers = evaluate(workdir.at(arguments.workdir), overrides, only)
    if jax.process_index() == 0:
        print(json.dumps(numbers, indent=2))


def evaluate(folder: epath.Path, overrides: Sequence[str], only: Sequence[str] = ()) -> dict[str, float]:
    """Runs the evaluators of a run on its newest whole checkpoint, and writes `evaluation.json` beside it.

    Args:
        folder: of the run.
        overrides: `evaluators.NAME.FIELD=value` strings.
        only: names of those to run, which are added where the run's config lacks them; empty is all that it has.

    Raises:
        UserError: there is no run, no whole checkpoint or no such evaluator, or an override would change what was
            trained.
    """
    step, numbers = measure(folder, overrides, only)
    if jax.process_index() == 0:
        workdir.write_json(folder / "evaluation.json", {"step": step, **numbers})
    return numbers


def measure(
    folder: epath.Path, overrides: Sequence[str], only: Sequence[str] = (), *, trained: bool = True
) -> tuple[int, dict[str, float]]:
    """Like `evaluate`, but writes nothing; `trained=False` measures the state with which the run began.

    Returns:
        The step of the state, and the numbers.
    """
    known = plugins.names("train.evaluators")
    for name in only:
        if name not in known:
            raise UserError(f"--evaluator: {name!r} does not exist; {nearest(name, known)}")
    # When an evaluator is due during training means nothing here, and naming it adds the evaluator.
    added = [f"evaluators.{name}.every=None" for name in only]
    experiment = of_run(folder, [*added, *overrides])
    chosen = {name: experiment.evaluators[name] for name in only} or experiment.evaluators
    device_mesh = experiment.mesh_shape.build()
    mesh.check_batch_size(device_mesh, experiment.data.batch_size, 1)
    compiled = compile_steps(experiment.recipe, device_mesh, experiment.spec)
    with jax.set_mesh(device_mesh), jax.default_matmul_precision(experiment.run.matmul_precision):
        state = _restored(folder, experiment, compiled) if trained else compiled.init(experiment.run.seed)
        evaluation = evaluators.Evaluation(experiment, device_mesh, compiled.evaluate, state, folder)
        return int(state.step), evaluation.run(chosen)


def _restored(folder: epath.Path, experiment: Experiment, compiled: CompiledSteps) -> TrainState:
    with Checkpoints(folder, experiment.checkpoint, {}, read_only=True) as checkpoints:
        state = checkpoints.restore(compiled.abstract_state)
    if state is None:
        raise UserError(f"{folder} holds no whole checkpoint; train it first.")
    return state


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(main))
