"""Trains variants over seeds and reports on them.

    python -m train.compare --config=configs/quickstart.py --seeds=3 --workdir=DIR
    python -m train.compare --config=configs/X.py --vary model.cell=lstm,gru --config.steps=500 --workdir=DIR

Writes report.html, report.md, plots/ and results.jsonl into DIR. The same command again trains only what is
missing. Exit codes: 0 all runs finished; 2 a mistake in the command; 3 some run failed, the report names it;
75 stopped by a signal, the same command goes on.
"""

import argparse
import inspect
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence

import jax
from etils import epath
from ml_collections import ConfigDict
from rich.console import Console

from train import mesh, modules, workdir
from train.commands import Parser, split_overrides
from train.compare import lab, numbers, report, variants
from train.compare.progress import Progress
from train.errors import DIVERGED, UserError, nearest, run_command


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command's own flags, and the config's as `field=value` strings."""
    command = Parser("train.compare", __doc__)
    command.add_argument("--config", required=True, help="a config file, whose VARIANTS are compared; or FILE:ARGUMENT")
    command.add_argument("--workdir", required=True, help="folder of runs and report, local or gs://…")
    command.add_argument("--seeds", type=int, default=3, metavar="N", help="train seeds 0 to N - 1 (default: 3)")
    command.add_argument("--vary", action="append", default=[], metavar="FIELD=A,B", help="compare values; repeatable")
    command.add_argument("--metric", help="what decides (default: test/accuracy, else test/loss)")
    options, overrides = split_overrides(command, argv)
    if options.seeds < 1:
        raise UserError(f"--seeds={options.seeds}: at least 1 is needed, and 2 for an interval.")
    return options, overrides


def compare(argv: Sequence[str]) -> bool:
    """Trains, reports, and says whether all runs finished."""
    options, overrides = parse(argv)
    compared = variants.load(options.config, options.vary, overrides)
    workdir.at(options.workdir)  # Refuses what cannot be a folder, before anything is trained.
    mesh.initialize_distributed()
    costs = {label: _measured(label, config) for label, config in compared.items()}
    console = Console(markup=False, emoji=False, highlight=False, quiet=jax.process_index() > 0)
    progress = Progress(console, describe=lambda metrics: _described(metrics, options.metric))
    study = lab.Lab(options.workdir, progress=progress).train(compared, range(options.seeds))
    if jax.process_index() == 0:
        _report(study, costs, options, argv, console)
    return not study.failed


def _measured(label: str, config: ConfigDict) -> dict[str, int]:
    """Counts a variant, and so finds out before anything is written that it can be built."""
    try:
        return lab.measure(config)
    except UserError as error:
        raise UserError(f"variant {label!r}: {error}") from error


def _described(metrics: Mapping[str, float], asked: str | None) -> str:
    name = lab.primary_metric(metrics, asked)
    return f"{numbers.metric_name(name)} {numbers.show_value(name, metrics[name]):>8}" if name in metrics else ""


def _report(
    study: lab.Study,
    costs: Mapping[str, dict[str, int]],
    options: argparse.Namespace,
    argv: Sequence[str],
    console: Console,
) -> None:
    """Writes the report, and prints its table and its headline."""
    title, about = _titles(options)
    metric = lab.primary_metric(study.metric_names(), options.metric)
    if study.finished() and metric not in study.metric_names():
        raise UserError(f"--metric: {metric!r} is not in every run; {nearest(metric, study.metric_names())}")
    made = report.Report(
        study,
        costs,
        metric=metric,
        title=title,
        about=about,
        command=shlex.join(["python", "-m", "train.compare", *argv]),
    )
    report.write(made, epath.Path(options.workdir))
    console.print(report.terminal_table(made))
    console.print(made.headline(), soft_wrap=True)
    console.print(f"report: {epath.Path(options.workdir) / 'report.html'}", soft_wrap=True)


def _titles(options: argparse.Namespace) -> tuple[str, str]:
    """What the config's docstring says first heads the report; what it says next explains it."""
    docstring = inspect.getdoc(modules.at(options.config, needs="get_config")) or options.config
    first, _, rest = docstring.partition("\n")
    varied = ", ".join(axis.partition("=")[0] for axis in options.vary)
    title = f"{first.rstrip('.')}: {varied}" if varied else first.rstrip(".")
    return title, "" if varied else " ".join(rest.strip().partition("\n\n")[0].split())


def main(argv: Sequence[str] | None = None) -> None:
    if not compare(sys.argv[1:] if argv is None else argv):
        raise SystemExit(DIVERGED)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(main))
