"""Claims that train nothing: each gets a verdict, and measures the numbers that are known beforehand."""

from pathlib import Path

import pytest

from train.compare import claims
from train.compare.claims import ClaimLab
from train.compare.lab import Lab

FILES = sorted((Path(__file__).resolve().parents[2] / "configs" / "claims").glob("c*.py"))
EXACT = [file for file in FILES if "lab.train(" not in file.read_text()]
assert EXACT


@pytest.mark.parametrize("file", EXACT, ids=lambda file: file.stem)
def test_decides_and_reproduces_known_numbers(file, tmp_path):
    (claim,) = claims.load([str(file)])
    finding = claims.judge(claim, ClaimLab(Lab(str(tmp_path))))
    assert finding.error is None
    undecided = [check.sentence() for check in finding.checks if check.verdict == "underpowered"]
    assert not undecided, "what is exact needs no seeds"
    missed = [check.sentence() for check in finding.checks if (check.reading, check.verdict) == ("paper", "refuted")]
    assert not missed
    assert not list(tmp_path.iterdir()), "it trains nothing"
    for table in finding.tables:
        assert {len(row) for row in table.rows} == {len(table.header)}, table.title
