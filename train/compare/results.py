"""The one page of verdicts that is kept beside the README: written by the run that measured them, never typed.

`RESULTS.md` holds a row for every claim, `docs/results.svg` draws them by section of the article, and what stands
between two markers in the README beside it is filled in.
"""

import datetime
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from etils import epath

from train import provenance, workdir
from train.compare import claims_report, numbers, pages, plots, report
from train.compare.claims import Finding, Scale
from train.compare.claims_report import SIGNS
from train.errors import UserError

# The colours that the report has in CSS.
COLOURS = {
    answer: plots.COLOURS[int(name[1:])] if name != "alarm" else plots.COLOURS[6]
    for answer, name in claims_report.COLOURS.items()
}
CHART = Path("docs/results.svg")
BEGIN, END = "<!-- results: written by --results, not by hand -->", "<!-- end of results -->"


def check(file: Path) -> None:
    """Raises UserError unless the page can be written; makes the folder of its chart."""
    if file.is_dir():
        raise UserError(f"--results: {file} is a folder; name a file, such as RESULTS.md.")
    workdir.make(epath.Path((file.parent / CHART).parent), "--results")


def publish(findings: Sequence[Finding], file: Path, *, scale: Scale, command: str) -> None:
    """Writes the page, its chart, and the part of the README beside it that speaks of them, if there is such a part.

    Args:
        findings: what became of each claim, of all that there are.
        file: the page; its chart goes into the folder `docs` beside it.
        scale: of the claims.
        command: what makes this page again.
    """
    check(file)
    facts = _facts(findings, scale)  # Before anything is written, which would be a change that is not committed.
    chart = file.parent / CHART
    chart.write_text(draw(findings))
    page = pages.environment().get_template("results.md.jinja2")
    file.write_text(
        page.render(
            headline=claims_report.headline(findings),
            agreement=agreement(findings),
            chart=CHART,
            findings=findings,
            signs=SIGNS,
            link={finding.claim.id: _relative(finding.claim.path, file.parent) for finding in findings},
            facts=facts,
            command=portable(command),
        )
    )
    readme = file.parent / "README.md"
    if readme.exists():
        readme.write_text(filled(readme.read_text(), front(findings, file.name, dict(facts))))


def draw(findings: Sequence[Finding]) -> str:
    """The chart: a row for each section of the article, in it a tile for each claim."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for finding in findings:
        sections.setdefault(finding.claim.section, []).append((finding.claim.id, finding.answer))
    return plots.on_white(plots.to_svg(plots.tiles(sections, SIGNS, COLOURS)))


def agreement(findings: Sequence[Finding]) -> str:
    """How many claims agree with what a paper printed."""
    counts = Counter(finding.agreement for finding in findings)
    return ", ".join(f"{count} {answer}" for answer, count in counts.most_common())


def front(findings: Sequence[Finding], page: str, facts: Mapping[str, str]) -> str:
    """What the README says: how many claims got which answer, the chart, and where more is."""
    counts = Counter(finding.answer for finding in findings)
    answers = [answer for answer in SIGNS if counts[answer]]
    rows = [
        f"| {' | '.join(f'{SIGNS[answer]} {answer}' for answer in answers)} |",
        f"|{' ---: |' * len(answers)}",
        f"| {' | '.join(str(counts[answer]) for answer in answers)} |",
    ]
    count = "1 claim" if len(findings) == 1 else f"{len(findings)} claims"
    made = f"scale {facts['Scale']}, {facts['Date']}, {facts['Device']}"
    text = (
        f"What became of the article's {count}, judged to the letter ({made}); [every verdict with its reason]({page}):"
    )
    return "\n".join([text, "", *rows, "", f"![Verdicts by section of the article]({CHART})"])


def filled(readme: str, text: str) -> str:
    """The README with `text` between its markers; as it is, if it has none."""
    between = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)
    return between.sub(lambda _: f"\n{text}\n\n", readme)


def portable(command: str) -> str:
    """The command with paths as seen from here, and nothing that only this machine has."""
    return claims_report.as_typed(shlex.join(map(_portable, shlex.split(command))))


def _portable(word: str) -> str:
    flag, equals, path = word.rpartition("=")
    if not os.path.isabs(path):
        return word
    return f"{flag}{equals}{os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else Path(path).name}"


def _relative(path: str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _facts(findings: Sequence[Finding], scale: Scale) -> list[tuple[str, str]]:
    """Where the numbers come from: of the runs, and of the command that judged them."""
    # Claims may share runs; each was trained once.
    runs = {
        run.folder: run
        for finding in findings
        for study in finding.studies.values()
        for run in study.runs
        if run.result
    }
    seeds = sorted({run.seed for run in runs.values()})
    here = provenance.collect(seed=0, matmul_precision="highest")
    trained = sum(run.result.wall_time for run in runs.values() if run.result)
    judged = sum(finding.seconds for finding in findings)
    return [
        ("Scale", scale),
        ("Seeds", ", ".join(map(str, seeds)) or "nothing was trained"),
        ("Date", f"{datetime.datetime.now().astimezone():%Y-%m-%d}"),
        *report.origin([*(run.provenance() for run in runs.values()), here]),
        ("Training", f"{len(runs)} runs, {numbers.show_duration(trained)}"),
        ("Energy of training", report.energy(runs.values())),
        ("Claims", f"{numbers.show_duration(judged)}, with what they trained; runs found again are not counted"),
    ]
