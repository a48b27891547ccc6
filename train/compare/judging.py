"""Many claims by one command: a line for each as it is judged, then the report."""

import time
from collections.abc import Sequence
from pathlib import Path

import jax
from etils import epath
from rich.console import Console
from rich.text import Text

from train.compare import claims, claims_report, numbers, results
from train.compare.claims import ClaimLab, Finding, Scale
from train.compare.lab import Lab
from train.compare.progress import Progress

COLOURS = {
    "supported": "green",
    "refuted": "red",
    "imprecise": "yellow",
    "underpowered": "cyan",
    "no verdict": "magenta",
}


def judge(
    paths: Sequence[str],
    workdir: str,
    *,
    scale: Scale = "small",
    only: Sequence[str] = (),
    seeds: int = 5,
    command: str = "",
    page: str | None = None,
    console: Console | None = None,
) -> bool:
    """Judges claims, writes the report into `workdir`, and says whether every claim got a verdict.

    Args:
        paths: claim files.
        workdir: folder of runs and report, local or gs://…; finished runs in it are used again, by all claims.
        scale: "small" for two CPU cores, "full" for one accelerator.
        only: ids of those to judge; empty is all.
        seeds: how many a trained claim uses.
        command: what makes this report again.
        page: a file for the verdicts in short, as `results.publish` writes it.
        console: where the lines go.
    """
    is_first = jax.process_index() == 0
    console = console or Console(markup=False, emoji=False, highlight=False, quiet=not is_first)
    wanted = claims.load(paths, only)
    lab = Lab(workdir, progress=Progress(console))
    findings: list[Finding] = []
    begun = time.monotonic()
    for claim in wanted:
        findings.append(claims.judge(claim, ClaimLab(lab, scale, range(seeds))))
        left = (time.monotonic() - begun) / len(findings) * (len(wanted) - len(findings))
        console.print(_line(findings, len(wanted), left), soft_wrap=True)
    if is_first:
        claims_report.write(findings, epath.Path(workdir), scale=scale, command=command)
        if page:
            results.publish(findings, Path(page), scale=scale, command=command)
    console.print(claims_report.headline(findings), soft_wrap=True)
    console.print(f"report: {epath.Path(workdir) / 'report.html'}", soft_wrap=True)
    return all(finding.error is None for finding in findings)


def _line(findings: Sequence[Finding], count: int, left: float) -> Text:
    finding = findings[-1]
    done = f"{len(findings):>{len(str(count))}}/{count}  {finding.claim.id}  "
    then = f", {numbers.show_duration(left)} left" if len(findings) < count else ""
    return (
        Text(done)
        .append(f"{finding.answer:<12}", style=COLOURS[finding.answer])
        .append(f"  {finding.claim.title}  ({finding.why})  {numbers.show_duration(finding.seconds)}{then}")
    )
