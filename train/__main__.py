"""Trains one model: python -m train --config=configs/mnist.py:lenet --workdir=runs/lenet [--config.FIELD=VALUE …]."""

import logging
import sys
from collections.abc import Sequence

import jax
from etils import epath

from train import config as configs
from train import loop, mesh, writers
from train.commands import Parser, split_overrides
from train.errors import UserError, run_command


def main(argv: Sequence[str] | None = None) -> None:
    arguments, overrides = split_overrides(_parser(), argv)
    window = _window(arguments.profile)
    config = configs.load(arguments.config, overrides)
    mesh.initialize_distributed()
    console = writers.Console(config.steps) if jax.process_index() == 0 else None
    result = loop.train(config, arguments.workdir, writer=console, profile=window)
    if jax.process_index() == 0:
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        print(f"finished: step {result.step}  {numbers}  ({epath.Path(arguments.workdir)})")


def _parser() -> Parser:
    command = Parser("train", __doc__)
    command.add_argument("--config", required=True, help="a config file and its argument: configs/mnist.py:lenet")
    command.add_argument("--workdir", required=True, help="folder of the run, local or gs://…; naming it again resumes")
    command.add_argument("--profile", metavar="START:STOP", help="write a trace of these updates to WORKDIR/profile")
    return command


def _window(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    start, _, stop = text.partition(":")
    if not (start.isdigit() and stop.isdigit() and 1 <= int(start) <= int(stop)):
        raise UserError(f"--profile: {text!r} is not START:STOP with 1 <= START <= STOP, such as 10:20.")
    return int(start), int(stop)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(main))
