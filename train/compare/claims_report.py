"""What became of claims, as a page, a document, a table for a paper, and one line of JSON for each."""

import dataclasses
import datetime
import functools
import itertools
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from train import provenance
from train.compare import lab, numbers, pages, report
from train.compare.checks import Reading
from train.compare.claims import Claim, Finding, Scale
from train.compare.lab import Run, Study
from train.compare.report import Chart
from train.compare.statistics import Verdict

# How each answer looks: a sign, for eyes that see no colours, and which colour of the palette.
SIGNS = {"supported": "✓", "refuted": "✗", "imprecise": "≈", "underpowered": "?", "no verdict": "–"}
COLOURS = {"supported": "c2", "refuted": "c1", "imprecise": "c4", "underpowered": "c0", "no verdict": "alarm"}
READINGS: dict[Reading, str] = {"sentence": "to the letter", "amended": "amended", "paper": "printed in a paper"}
VERDICTS: dict[Verdict, str] = {"supported": "holds", "refuted": "fails", "underpowered": "undecided"}

SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "→": r"$\to$",
    "²": "$^2$",
    "ⁿ": "$^n$",
}


def headline(findings: Sequence[Finding]) -> str:
    """How many claims got which answer."""
    counts = Counter(finding.answer for finding in findings)
    claims = "1 claim" if len(findings) == 1 else f"{len(findings)} claims"
    return f"{claims}: " + ", ".join(f"{count} {answer}" for answer, count in counts.most_common())


@dataclasses.dataclass(frozen=True)
class Shown:
    """A finding as the templates read it.

    Attributes:
        finding: the claim and what came out.
        command: what judges just this claim again.
    """

    finding: Finding
    command: str

    @property
    def claim(self) -> Claim:
        return self.finding.claim

    @property
    def paragraphs(self) -> list[str]:
        """What the claim's file says of it."""
        return [" ".join(text.split()) for text in self.claim.about.split("\n\n") if text.strip()]

    @functools.cached_property
    def charts(self) -> list[Chart]:
        """Those of the claim, then learning curves of every study."""
        own = [dataclasses.replace(one, name=_slug(f"{self.claim.id} {one.name}")) for one in self.finding.charts]
        return own + [chart for name, study in self.finding.studies.items() for chart in self._curves(name, study)]

    def _curves(self, name: str, study: Study) -> list[Chart]:
        prefix = _slug(f"{self.claim.id} {name}")
        drawn = report.learning_curves(study, decisive_metric(study))
        return [
            dataclasses.replace(chart, name=f"{prefix}-{chart.name}", caption=f"{name}. {chart.caption}")
            for chart in drawn
        ]

    @property
    def runs(self) -> list[tuple[str, Run]]:
        """Every run with the name of its study."""
        return [(name, run) for name, study in self.finding.studies.items() for run in study.runs]

    def facts(self) -> list[tuple[str, str]]:
        """Where the numbers of its runs come from; empty if nothing was trained."""
        runs = [run for _, run in self.runs]
        if not runs:
            return []
        # Studies may share runs; each was trained once.
        seconds = {run.folder: run.result.wall_time for run in runs if run.result}
        return [
            ("Seeds", ", ".join(map(str, sorted({run.seed for run in runs})))),
            *report.origin([run.provenance() for run in runs if run.result]),
            ("Training time", numbers.show_duration(sum(seconds.values()))),
            ("Energy", report.energy({run.folder: run for run in runs}.values())),
        ]

    def line(self) -> dict[str, Any]:
        """All that is known of it."""
        return {
            "id": self.claim.id,
            "claim": self.claim.title,
            "section": self.claim.section,
            "sentence": self.claim.sentence,
            "file": self.claim.path,
            "answer": self.finding.answer,
            "agreement": self.finding.agreement,
            "why": self.finding.why,
            "error": self.finding.error,
            "checks": [dataclasses.asdict(check) for check in self.finding.checks],
            "tables": [dataclasses.asdict(table) for table in self.finding.tables],
            "runs": [_run(name, run) for name, run in self.runs],
            "seconds": round(self.finding.seconds, 3),
            "command": self.command,
        }


def write(findings: Sequence[Finding], workdir: epath.Path, *, scale: Scale, command: str) -> None:
    """Writes `report.html`, `report.md`, `tables.tex`, `plots/` and `results.jsonl` into the work directory.

    Args:
        findings: what became of each claim.
        workdir: where to.
        scale: of the claims.
        command: what makes this report again; empty if there is none.
    """
    shown = [Shown(finding, command_of(finding.claim.id, command)) for finding in findings]
    pages.write_charts((chart for one in shown for chart in one.charts), workdir / "plots")
    environment = pages.environment()
    environment.filters |= {"latex": latex, "metric_value": numbers.show_value}
    values = {
        "shown": shown,
        "headline": headline(findings),
        "facts": _facts(findings, scale),
        "command": as_typed(command),
        "sections": list(dict.fromkeys(finding.claim.section for finding in findings)),
        "answers": [answer for answer in SIGNS if any(finding.answer == answer for finding in findings)],
        "signs": SIGNS,
        "colours": COLOURS,
        "readings": READINGS,
        "verdicts": VERDICTS,
        "decisive_metric": decisive_metric,
    }
    files = {"report.html": "claims.html.jinja2", "report.md": "claims.md.jinja2", "tables.tex": "claims.tex.jinja2"}
    for file, template in files.items():
        (workdir / file).write_bytes(environment.get_template(template).render(values).encode())
    (workdir / "results.jsonl").write_bytes(pages.json_lines({"scale": scale, **one.line()} for one in shown))


def command_of(identity: str, command: str) -> str:
    """The command that judges just one of the claims that `command` judges."""
    return f"{as_typed(command, leave_out=('--only', '--results'))} --only={identity}" if command else ""


def decisive_metric(study: Study) -> str:
    return lab.primary_metric(study.metric_names())


def _slug(text: str) -> str:
    """For the name of a file."""
    return re.sub(r"\W+", "-", text).strip("-").lower()


def latex(text: str) -> str:
    """The text with what LaTeX would read as a command, and signs that its fonts lack, written out."""
    return "".join(SPECIAL.get(character, character) for character in text)


def as_typed(command: str, leave_out: Sequence[str] = ()) -> str:
    """The command as a person types it: where it names all files of a folder, `folder/*.py`; without some flags."""
    words = shlex.split(command)
    folders = {str(Path(word).parent) for word in words if _is_file(word)}
    files = {folder: {str(file) for file in Path(folder).glob("*.py")} for folder in folders}
    whole = {folder for folder in folders if len(files[folder]) > 1 and files[folder] <= set(words)}
    typed: list[str] = []
    for before, word in itertools.pairwise(["", *words]):
        glob = f"{shlex.quote(str(Path(word).parent))}/*.py"
        left_out = any(flag in (word, before) or word.startswith(f"{flag}=") for flag in leave_out)
        if _is_file(word) and str(Path(word).parent) in whole:
            typed += [glob] if glob not in typed else []
        elif not left_out:
            typed.append(shlex.quote(word))
    return " ".join(typed)


def _is_file(word: str) -> bool:
    return word.endswith(".py") and not word.startswith("-")


def _facts(findings: Sequence[Finding], scale: Scale) -> list[tuple[str, str]]:
    """Where the whole report comes from."""
    here = report.origin([provenance.collect(seed=0, matmul_precision="highest")])
    seconds = sum(finding.seconds for finding in findings)
    made = datetime.datetime.now().astimezone()
    return [
        ("Scale", scale),
        *here,
        ("Judged in", f"{numbers.show_duration(seconds)}, runs found again not counted"),
        ("Report made", f"{made:%Y-%m-%d %H:%M %Z}"),
    ]


def _run(name: str, run: Run) -> Mapping[str, Any]:
    return {
        "study": name,
        "variant": run.variant,
        "seed": run.seed,
        "digest": run.folder.name,
        "metrics": dict(run.metrics),
        "wall_time": run.result.wall_time if run.result else None,
        "error": None if run.result else run.error or "ended without a result",
    }
