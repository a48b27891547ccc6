"""Writes a run as a Hugging Face folder: python -m train.pretrained --workdir=runs/vit --output=exported/vit.

The folder has config.json and model.safetensors, of the newest whole checkpoint and, where the run averages its
parameters, of the averages, which are what is evaluated; and tokenizer.json, if its data are texts. `transformers`
loads it: AutoModel.from_pretrained(folder).
Fields that decide where the run is read, not what it is, may be changed (--config.mesh.data=1).
"""

import logging
import sys
from collections.abc import Sequence

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from train import mesh, pretrained, workdir
from train.checkpoint import Checkpoints
from train.commands import Parser, split_overrides
from train.errors import UserError, run_command
from train.experiment import TOKENIZER, Experiment, of_run, saved_tokenizer
from train.pretrained import folder as folders
from train.step import TrainState, compile_steps


def main(argv: Sequence[str] | None = None) -> None:
    command = Parser("train.pretrained", __doc__)
    command.add_argument("--workdir", required=True, help="folder of the run")
    command.add_argument("--output", required=True, help="folder to write; it must be empty, or not exist yet")
    arguments, overrides = split_overrides(command, argv)
    mesh.initialize_distributed()
    folders.check_new(arguments.output)
    folder = workdir.at(arguments.workdir)
    experiment, state = restore(folder, overrides)
    config, tensors = pretrained.export(experiment.model, host_variables(state))
    if jax.process_index() == 0:
        folders.write(arguments.output, config, tensors)
        if (tokenizer := saved_tokenizer(folder)) is not None:
            tokenizer.copy(epath.Path(arguments.output).expanduser() / TOKENIZER)
        print(f"wrote {config['architectures'][0]} of step {int(state.step)} to {arguments.output}")


def restore(folder: epath.Path, overrides: list[str]) -> tuple[Experiment, TrainState]:
    """A run and its newest whole state.

    Raises:
        UserError: there is no run or no whole checkpoint, or an override would change what was trained.
    """
    experiment = of_run(folder, overrides)
    device_mesh = experiment.mesh_shape.build()
    compiled = compile_steps(experiment.recipe, device_mesh, experiment.spec)
    with jax.set_mesh(device_mesh), Checkpoints(folder, experiment.checkpoint, {}, read_only=True) as checkpoints:
        state = checkpoints.restore(compiled.abstract_state)
    if state is None:
        raise UserError(f"{folder} holds no whole checkpoint; train it first.")
    return experiment, state


def host_variables(state: TrainState) -> dict[str, object]:
    """The model's variables as evaluation takes them, whole on every process."""
    params = state.params if state.ema_params is None else state.ema_params
    variables = {"params": params, **state.model_state}
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, variables)
    return multihost_utils.process_allgather(variables, tiled=True)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(main))
