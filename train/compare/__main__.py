"""Trains variants over seeds and reports on them, or judges claims.

    python -m train.compare --config=configs/quickstart.py --seeds=3 --workdir=DIR
    python -m train.compare --config=configs/X.py --vary model.cell=lstm,gru --match=parameters --workdir=DIR
    python -m train.compare configs/claims/*.py --scale=small --workdir=DIR [--only=C22,C23] [--seeds=5]
    python -m train.compare configs/claims/*.py --workdir=DIR --results=RESULTS.md
    python -m train.compare --table=lra --workdir=DIR

Writes report.html, report.md, results.jsonl and more into DIR. The same command again trains only what is
missing. Exit codes: 0 all runs finished, every claim got a verdict; 2 a mistake in the command; 3 some run
failed or some claim got no verdict, the report names it; 75 stopped by a signal, the same command goes on.
"""

import argparse
import inspect
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import get_args

import jax
from etils import epath
from ml_collections import ConfigDict
from rich.console import Console

from train import mesh, modules, workdir
from train.commands import Parser, split_overrides
from train.compare import budget, judging, lab, pages, report, reproduce, tuning, variants
from train.compare.progress import Progress
from train.errors import DIVERGED, UserError, nearest, run_command


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command's own flags, and the config's as `field=value` strings."""
    command = Parser("train.compare", __doc__)
    command.add_argument("claims", nargs="*", metavar="CLAIM.py", help="claim files to judge, instead of --config")
    command.add_argument("--config", help="a config file, whose VARIANTS are compared; or FILE:ARGUMENT")
    command.add_argument("--workdir", required=True, help="folder of runs and report, local or gs://…")
    command.add_argument("--table", help=f"show a paper's table beside our runs: {', '.join(reproduce.names())}")
    command.add_argument("--seeds", type=int, metavar="N", help="train seeds 0 to N - 1 (default: 3, of claims 5)")
    command.add_argument("--scale", choices=("small", "full"), default="small", help="size of claims (default: small)")
    command.add_argument("--only", default="", metavar="C01,C02", help="of the claims, those with these ids")
    command.add_argument("--results", metavar="FILE.md", help="also write the verdicts of all claims on one page")
    command.add_argument("--vary", action="append", default=[], metavar="FIELD=A,B", help="compare values; repeatable")
    command.add_argument("--match", choices=budget.BUDGETS, help="size all variants to cost what the first costs")
    command.add_argument(
        "--together",
        choices=get_args(lab.Together),
        default="auto",
        help="train runs of one shape as a population (default: where it is faster)",
    )
    command.add_argument(
        "--tune", action="append", default=[], metavar="FIELD=A,B", help="each variant tries these, and keeps the best"
    )
    command.add_argument("--metric", help="what decides (default: test/accuracy, else test/loss)")
    options, overrides = split_overrides(command, argv)
    if sum(map(bool, (options.claims, options.config, options.table))) != 1:
        raise UserError(
            "give either --config=FILE.py or claim files, such as configs/claims/*.py, or --table=NAME (see --help)"
        )
    of_configs = {"--config.FIELD": overrides, "--vary": options.vary, "--metric": options.metric}
    of_configs |= {"--match": options.match, "--tune": options.tune}
    given = [flag for flag, value in of_configs.items() if value]
    if (options.claims or options.table) and given:
        what = "claims say themselves" if options.claims else "a table says itself"
        raise UserError(f"{', '.join(given)}: {what} what is compared; leave it out.")
    if options.metric == "":
        raise UserError("--metric: names none; leave it out, or name one such as test/accuracy.")
    if options.config and (options.only or options.results or options.scale != "small"):
        raise UserError("--only, --results and --scale: they are for claims; leave them out with --config.")
    if options.results and options.only:
        raise UserError("--results: the page is of all claims; leave out --only.")
    if options.seeds is None:
        options.seeds = 5 if options.claims else 3
    if options.seeds < 1:
        raise UserError(f"--seeds={options.seeds}: at least 1 is needed, and 2 for an interval.")
    return options, overrides


def compare(argv: Sequence[str]) -> bool:
    """Trains or judges, reports, and says whether nothing failed."""
    options, overrides = parse(argv)
    if options.claims:
        return _judge(options, argv)
    if options.table:
        reproduce.show(options.table, options.workdir, Console(markup=False, emoji=False, highlight=False))
        return True
    grid = _grid(options, overrides)
    compared = variants.load(options.config, options.vary, overrides)
    folder = workdir.at(options.workdir)  # Refuses what cannot be a folder, before anything is trained.
    mesh.initialize_distributed()
    _check_metric(compared, options.metric)
    if options.match and len(compared) < 2:
        raise UserError(f"--match={options.match}: there is only {', '.join(compared)}, and nothing to match it with.")
    costs = {label: _measured(label, config) for label, config in compared.items()}
    matched = budget.match(compared, options.match, memory=folder / "matched") if options.match else {}
    compared |= {label: one.config for label, one in matched.items()}
    variants.refuse_equal(compared, f"the width in which they differ is what --match={options.match} chooses")
    workdir.make(folder)
    costs |= {label: lab.measure(one.config) for label, one in matched.items() if one.field}
    console = Console(markup=False, emoji=False, highlight=False, quiet=jax.process_index() > 0)
    progress = Progress(console, describe=lambda metrics: lab.described(metrics, options.metric))
    laboratory = lab.Lab(options.workdir, progress=progress, together=options.together)
    tables = []
    if grid:
        tuned = tuning.tune(laboratory, compared, grid, options.metric)
        tables, compared = [tuned.table()], tuned.configs(compared)
    study = laboratory.train(compared, range(options.seeds))
    if jax.process_index() == 0:
        _report(study, costs, budget.describe(matched, options.match), tables, options, argv, console)
    return not study.failed


def _grid(options: argparse.Namespace, overrides: Sequence[str]) -> tuning.Grid:
    """The fields that each variant tries, with their values."""
    axes = [variants.parse_axis(text, "--tune") for text in options.tune]
    fields = [field for field, _ in axes]
    fixed = [text.partition("=")[0].removeprefix("config.") for text in (*options.vary, *overrides)]
    for field in fields:
        if fields.count(field) > 1 or field in fixed:
            raise UserError(f"{field}: is set twice; name it in one --tune only.")
    return dict(axes)


def _check_metric(compared: Mapping[str, ConfigDict], asked: str | None) -> None:
    """Refuses a metric that some variant will not report, before anything is trained."""
    for label, config in compared.items() if asked else ():
        if asked not in (reported := lab.metrics_of(config)):
            raise UserError(f"--metric: {label!r} does not report {asked!r}; {nearest(str(asked), sorted(reported))}")


def _measured(label: str, config: ConfigDict) -> dict[str, int]:
    """Counts a variant, and so finds out before anything is written that it can be built."""
    try:
        return lab.measure(config)
    except UserError as error:
        raise UserError(f"variant {label!r}: {error}") from error


def _report(
    study: lab.Study,
    costs: Mapping[str, dict[str, int]],
    matching: str,
    tables: Sequence[pages.Table],
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
        about=" ".join(filter(None, (about, matching))),
        command=shlex.join(["python", "-m", "train.compare", *argv]),
        tables=tables,
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


def _judge(options: argparse.Namespace, argv: Sequence[str]) -> bool:
    """Judges claims, reports, and says whether every claim got a verdict."""
    workdir.at(options.workdir)
    mesh.initialize_distributed()
    return judging.judge(
        options.claims,
        options.workdir,
        scale=options.scale,
        only=[name for name in options.only.split(",") if name],
        seeds=options.seeds,
        command=shlex.join(["python", "-m", "train.compare", *argv]),
        page=options.results,
        together=options.together,
    )


def main(argv: Sequence[str] | None = None) -> None:
    if not compare(sys.argv[1:] if argv is None else argv):
        raise SystemExit(DIVERGED)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    sys.exit(run_command(main))
