"""What became of claims, as a page, a document, a table for a paper, and one line of JSON for each."""

from collections import Counter
from collections.abc import Sequence

from etils import epath

from train.compare.claims import Finding, Scale


def headline(findings: Sequence[Finding]) -> str:
    """How many claims got which answer."""
    counts = Counter(finding.answer for finding in findings)
    return f"{len(findings)} claims: " + ", ".join(f"{count} {answer}" for answer, count in counts.most_common())


def write(findings: Sequence[Finding], workdir: epath.Path, *, scale: Scale, command: str) -> None:
    """Writes the report."""
    raise NotImplementedError
