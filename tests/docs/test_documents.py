"""The documents: the table of coverage names every bullet of the article, and the README shows a claim as it is."""

import re
from pathlib import Path

import pytest

from train.compare import claims, lab

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "coverage.md").read_text()
# Bullets of the article in each of its sections, nested ones included; references and citation have none to answer.
BULLETS = {
    "Overview": 2,
    "Fully Connected Networks": 4,
    "Convolutional Neural Networks": 12,
    "Use-cases of CNNs": 2,
    "Pros of CNNs Compared to FCNs": 11,
    "Recurrent Neural Networks": 12,
    "Use-cases of RNNs": 2,
    "Pros of RNNs vs. CNNs": 1,
    "Vanishing Gradient Problem Solutions": 2,
    "Gated Recurrent Units (GRU)": 4,
    "Pros of GRUs Compared to LSTMs and RNNs": 2,
    "Cons of GRUs Compared to LSTMs and RNNs": 2,
    "Long-Short Term Memory (LSTM) Cells": 11,
    "Pros of LSTMs Compared to GRUs and RNNs": 1,
    "Cons of LSTMs Compared to GRUs and RNNs": 1,
    "Transformers": 39,
    "Language": 4,
    "Vision": 3,
    "Multimodal Tasks": 5,
    "Benefits of Transformers Compared to RNNs/GRUs/LSTMs": 2,
    "Drawbacks of Transformers Compared to RNNs/GRUs/LSTMs": 12,
    "Inductive Bias": 4,
    "Inductive Biases of Standard Neural Architectures": 3,
}
CLAIMS = [f"C{number:02d}" for number in range(1, 43)]


def sections() -> dict[str, list[list[str]]]:
    """The rows of each section's table."""
    _, *parts = re.split(r"(?m)^## ", TEXT)
    rows = {part.partition("\n")[0]: re.findall(r"(?m)^\| (\d+) \| (.+) \| (.+) \|$", part) for part in parts}
    return {title: [list(row) for row in found] for title, found in rows.items()}


def test_no_bullet_is_missing():
    numbers = {title: [int(row[0]) for row in rows] for title, rows in sections().items()}
    assert numbers == {title: list(range(1, count + 1)) for title, count in BULLETS.items()}


def test_every_claim_answers_a_bullet():
    assert set(re.findall(r"\bC\d\d\b", TEXT)) == set(CLAIMS)


@pytest.mark.parametrize("title", BULLETS)
def test_what_answers_a_bullet_is_there(title):
    for number, _, answer in sections()[title]:
        files = re.findall(r"`([^`]+)`", answer)
        assert files or re.search(r"\bC\d\d\b|– \w", answer), f"{title} {number}: nothing answers it"
        for file in files:
            assert (ROOT / file).exists(), f"{title} {number}: {file} is not there"


@pytest.mark.parametrize(
    "claim", claims.load(sorted(map(str, (ROOT / "configs" / "claims").glob("c*.py")))), ids=lambda claim: claim.id
)
def test_a_claim_names_its_section_as_the_article_does_and_answers_a_bullet_of_it(claim):
    assert claim.section in BULLETS
    assert any(re.search(rf"\b{claim.id}\b", answer) for _, _, answer in sections()[claim.section])


def test_the_readme_shows_a_claim_as_it_is():
    claim = (ROOT / "configs" / "claims" / "c04_weights_of_1000_units.py").read_text()
    assert f"```python\n{claim}```" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("identity", ["C05", "C06", "C30", "C35", "C36"])
def test_the_readme_corrects_the_article_by_what_claims_measure(identity, tmp_path):
    (file,) = (ROOT / "configs" / "claims").glob(f"{identity.lower()}_*.py")
    (claim,) = claims.load([str(file)])
    found = claims.judge(claim, claims.ClaimLab(lab.Lab(str(tmp_path))))
    cells = [cell for table in found.tables for row in table.rows for cell in row]
    evidence = " ".join([claim.about, *cells, *(check.measured for check in found.checks)])
    errors = (ROOT / "README.md").read_text().partition("### Errors of the article")[2]
    (row,) = re.findall(rf"(?m)^\| .+ \| (.+) \| {identity}\b.* \|$", errors)
    numbers = re.findall(r"\d{2,3}(?:,\d{3})+|\d+\.\d\d", row)
    assert numbers and [number for number in numbers if number not in evidence] == []
