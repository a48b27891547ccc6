"""Claims that train nothing: each gets a verdict, and measures the numbers that are known beforehand."""

from pathlib import Path

import pytest

from train.compare import claims
from train.compare.claims import ClaimLab
from train.compare.lab import Lab

FILES = sorted((Path(__file__).resolve().parents[2] / "configs" / "claims").glob("c*.py"))
EXACT = [claim for claim in claims.load(list(map(str, FILES))) if "small" not in claim.trains]
assert EXACT


@pytest.mark.parametrize("claim", EXACT, ids=lambda claim: Path(claim.path).stem)
def test_decides_and_reproduces_known_numbers(claim, tmp_path):
    finding = claims.judge(claim, ClaimLab(Lab(str(tmp_path))))
    assert finding.error is None
    undecided = [check.sentence() for check in finding.checks if check.verdict == "underpowered"]
    assert not undecided, "what is exact needs no seeds"
    missed = [check.sentence() for check in finding.checks if (check.reading, check.verdict) == ("paper", "refuted")]
    assert not missed
    assert not list(tmp_path.iterdir()), "it trains nothing"
    for table in finding.tables:
        assert {len(row) for row in table.rows} == {len(table.header)}, table.title
