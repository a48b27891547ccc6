"""The page of verdicts that is kept: complete, portable, and the README's numbers are its own."""

import re
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from train.compare import checks, claims_report, lab, results, variants
from train.compare.claims import Claim, Finding

ROOT = Path(__file__).resolve().parents[3]
ROW = re.compile(r"^\| \[(C\d+)\]\((.*?)\) \| (.*) \| (.) (.*?) \| (.*?) \| (.*) \|$", re.MULTILINE)
COMMAND = "python -m train.compare configs/claims/c04_weights_of_1000_units.py --workdir=/somewhere/mine --results=R.md"


def finding(identity: str, *found: checks.Check, section: str = "CNN", **options: Any) -> Finding:
    path = f"configs/claims/{identity.lower()}_x.py"
    claim = Claim(identity, f"Title of {identity}", "", section, "It is so.", lambda _: iter(()), path)
    return Finding(claim, found, **({"tables": (), "studies": {}, "seconds": 1.25} | options))


@pytest.fixture
def findings(tmp_path: Path, config_file: str, fake_train: Any, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """One that holds, one that fails, one without verdict, judged from the folder of the page."""
    study = lab.Lab(str(tmp_path / "w"), train_run=fake_train).train(variants.load(config_file), range(2))
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    return [
        finding("C01", checks.equal("a | b", 1, 1), checks.equal("printed", 2, 2, "paper")),
        finding("C02", checks.equal("a", 1, 2), section="RNN & more", studies={"widths": study, "again": study}),
        finding("C03", error="ValueError: bad"),
    ]


def publish(findings: list[Finding], folder: Path) -> str:
    results.publish(findings, folder / "R.md", scale="small", command=COMMAND)
    return (folder / "R.md").read_text()


def test_the_page_has_every_claim_and_where_the_numbers_come_from(findings: list[Finding], tmp_path: Path) -> None:
    text = publish(findings, tmp_path / "out")
    rows = ROW.findall(text)
    assert [(row[0], row[3], row[4], row[5]) for row in rows] == [
        ("C01", "✓", "supported", "reproduced"),
        ("C02", "✗", "refuted", "nothing printed"),
        ("C03", "–", "no verdict", "no verdict"),
    ]
    assert rows[0][6] == r"a \| b: 1, wanted = 1" and rows[2][6] == "ValueError: bad"
    assert rows[0][1] == "configs/claims/c01_x.py"
    for fact in ("3 claims: 1 supported, 1 refuted, 1 no verdict.", "Scale: small", "Seeds: 0, 1", "4 runs, 10.0 s"):
        assert fact in text, fact
    assert "0123456789ab" in text and re.search(r"Device: .*\d cores?\b", text)  # Of the runs, and of what judged them.


def test_the_page_asks_where_it_is_before_it_changes_that(
    findings: list[Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = results.provenance.collect

    def before(**kwargs: Any) -> Any:
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
        return collect(**kwargs)

    monkeypatch.setattr(results.provenance, "collect", before)
    assert publish(findings, tmp_path / "out")


def test_the_page_names_no_place_of_this_machine(findings: list[Finding], tmp_path: Path) -> None:
    text = publish(findings, tmp_path / "out")
    assert COMMAND.replace("/somewhere/", "") in text
    assert "/somewhere" not in text and str(tmp_path) not in text and str(ROOT) not in text


def test_the_chart_shows_each_claim_with_a_sign(findings: list[Finding], tmp_path: Path) -> None:
    publish(findings, tmp_path / "out")
    drawn = ElementTree.fromstring((tmp_path / "out" / "docs" / "results.svg").read_text())
    words = ["".join(element.itertext()).strip() for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"CNN", "RNN & more", "✓ C01", "✗ C02", "– C03", "✓ 1 supported", "✗ 1 refuted"} <= set(words)
    assert len(set(results.COLOURS.values())) == len(claims_report.SIGNS)


def test_the_readme_is_filled_between_its_markers_alone(findings: list[Finding], tmp_path: Path) -> None:
    readme = tmp_path / "out" / "README.md"
    readme.write_text(f"before\n\n{results.BEGIN}\n\nold\n\n{results.END}\n\nafter\n")
    publish(findings, readme.parent)
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith(f"{results.END}\n\nafter\n") and "old" not in text
    assert "| ✓ supported | ✗ refuted | – no verdict |" in text and "| 1 | 1 | 1 |" in text
    assert "](R.md)" in text and "](docs/results.svg)" in text
    publish(findings, readme.parent)
    assert readme.read_text() == text
    assert results.filled("no markers", "text") == "no markers"


def counts_shown(readme: str) -> Counter[str]:
    """The numbers of the README's table, by answer."""
    part = readme.partition(results.BEGIN)[2].partition(results.END)[0]
    header, _, numbers = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return Counter({name[2:]: int(number) for name, number in zip(header, numbers, strict=True)})


def test_the_readmes_numbers_are_those_of_the_page(findings: list[Finding], tmp_path: Path) -> None:
    """Of a planted page, and of the one that is kept, once there is one."""
    readme = tmp_path / "out" / "README.md"
    readme.write_text(f"{results.BEGIN}\n{results.END}\n")
    publish(findings, readme.parent)
    folders = [readme.parent, *([ROOT] if (ROOT / "RESULTS.md").exists() else [])]
    for folder in folders:
        page = (folder / ("R.md" if folder != ROOT else "RESULTS.md")).read_text()
        assert counts_shown((folder / "README.md").read_text()) == Counter(row[4] for row in ROW.findall(page))


def test_the_readme_has_its_place() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count(results.BEGIN) == text.count(results.END) == 1 and text.index(results.BEGIN) < text.index(
        results.END
    )
