"""Many claims by one command: a line for each as it is judged, then the report."""

from collections.abc import Sequence
from pathlib import Path

import jax
from etils import epath
from rich.console import Console
from rich.text import Text

from train import workdir as workdirs
from train.compare import claims, claims_report, numbers, results
from train.compare.claims import Claim, ClaimLab, Finding, Scale
from train.compare.lab import Lab, Together, described
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
    together: Together = "auto",
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
        together: as in `Lab`.
        console: where the lines go.
    """
    is_first = jax.process_index() == 0
    console = console or Console(markup=False, emoji=False, highlight=False, quiet=not is_first)
    wanted = claims.load(paths, only)
    if is_first:
        workdirs.make(workdirs.at(workdir))
        if page:
            results.check(Path(page))
    progress = Progress(console, describe=described)
    lab = Lab(workdir, progress=progress, together=together)
    findings: list[Finding] = []
    for place, claim in enumerate(wanted, start=1):
        progress.title, progress.after = claim.id, expected(findings, wanted[place:], scale)
        findings.append(claims.judge(claim, ClaimLab(lab, scale, range(seeds))))
        console.print(_line(findings, len(wanted), expected(findings, wanted[place:], scale)), soft_wrap=True)
    if is_first:
        claims_report.write(findings, epath.Path(workdir), scale=scale, command=command)
        if page:
            results.publish(findings, Path(page), scale=scale, command=command)
    console.print(claims_report.headline(findings), soft_wrap=True)
    console.print(f"report: {epath.Path(workdir) / 'report.html'}", soft_wrap=True)
    return all(finding.error is None for finding in findings)


def expected(findings: Sequence[Finding], waiting: Sequence[Claim], scale: Scale) -> float | None:
    """Seconds that waiting claims will take at a scale, those that train and those that count as others of their kind.

    None while nobody can know: no claim has been judged, or none that trains and there are some.
    """
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for one in findings:
        seconds[scale in one.claim.trains].append(one.seconds)
    means = {trains: sum(of_kind) / len(of_kind) for trains, of_kind in seconds.items() if of_kind}
    kinds = [scale in claim.trains for claim in waiting]
    if (any(kinds) and True not in means) or (kinds and not means):
        return None
    return sum(means.get(trains, 0.0) for trains in kinds)


def _line(findings: Sequence[Finding], count: int, left: float | None) -> Text:
    finding = findings[-1]
    done = f"{len(findings):>{len(str(count))}}/{count}  {finding.claim.id}  "
    then = f", {numbers.show_duration(left)} left" if left else ""
    return (
        Text(done)
        .append(f"{finding.answer:<12}", style=COLOURS[finding.answer])
        .append(f"  {finding.claim.title}  ({finding.why})  {numbers.show_duration(finding.seconds)}{then}")
    )
