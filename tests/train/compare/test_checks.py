"""Two answers from checks: every combination of verdicts, and what decides."""

import itertools
from typing import Any

import pytest

from train.compare import checks
from train.compare.checks import Check
from train.compare.statistics import Verdict

VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "underpowered")
SUBSETS = [subset for size in range(4) for subset in itertools.combinations(VERDICTS, size)]


def check(verdict: Verdict, reading: Any = "sentence", what: str = "a number", note: str = "") -> Check:
    return Check(what, "1", "> 0", verdict, reading, note)


def made(**verdicts: tuple[Verdict, ...]) -> list[Check]:
    return [check(verdict, reading) for reading, found in verdicts.items() for verdict in found]


def expected_answer(letter: tuple[Verdict, ...], amended: tuple[Verdict, ...]) -> str:
    """The table that the module promises, one row for a set of verdicts of the letter."""
    if letter == ("supported",):
        return "supported"
    if set(letter) <= {"supported", "underpowered"}:
        return "underpowered"
    return "imprecise" if amended == ("supported",) else "refuted"


@pytest.mark.parametrize("paper", SUBSETS)
@pytest.mark.parametrize("amended", SUBSETS)
@pytest.mark.parametrize("letter", SUBSETS[1:])
def test_answer_and_agreement_of_every_combination(
    letter: tuple[Verdict, ...], amended: tuple[Verdict, ...], paper: tuple[Verdict, ...]
) -> None:
    found = made(paper=paper, amended=amended, sentence=letter)
    assert checks.answer(found) == expected_answer(letter, amended)
    wanted = {(): "nothing printed", ("supported",): "reproduced"}
    undecided = "not reproduced" if "refuted" in paper else "underpowered"
    assert checks.agreement(found) == wanted.get(paper, undecided)


@pytest.mark.parametrize(
    ("amended", "answer"),
    [
        ((), "refuted"),
        (("supported",), "imprecise"),
        (("supported", "supported"), "imprecise"),
        (("supported", "refuted"), "refuted"),
        (("supported", "underpowered"), "refuted"),
    ],
)
def test_imprecise_only_if_the_letter_fails_and_the_amended_reading_holds(
    amended: tuple[Verdict, ...], answer: str
) -> None:
    assert checks.answer(made(sentence=("supported", "refuted"), amended=amended)) == answer
    assert checks.answer(made(sentence=("supported",), amended=amended)) == "supported"


@pytest.mark.parametrize("found", [[], [check("supported", "amended")], [check("supported", "paper")]])
def test_a_claim_without_a_check_of_its_sentence_has_no_answer(found: list[Check]) -> None:
    with pytest.raises(ValueError, match="needs a check of the article's sentence"):
        checks.answer(found)


@pytest.mark.parametrize("order", list(itertools.permutations(VERDICTS)))
def test_why_names_what_decides(order: tuple[Verdict, ...]) -> None:
    found = [check(verdict, what=verdict, note="about 9 seeds would decide") for verdict in order]
    assert checks.why([check("refuted", "paper"), *found]) == "refuted: 1, wanted > 0"
    undecided = [one for one in found if one.verdict != "refuted"]
    assert checks.why(undecided) == "underpowered: 1, wanted > 0 (about 9 seeds would decide)"


def test_why_of_an_imprecise_sentence_gives_both_readings() -> None:
    found = [check("supported", "amended", "headless"), check("refuted", what="whole")]
    assert checks.why(found) == "whole: 1, wanted > 0; amended, headless: 1, wanted > 0"


@pytest.mark.parametrize(
    ("made", "verdict", "measured", "wanted"),
    [
        (checks.equal("x", 152, 152), "supported", "152", "= 152"),
        (checks.equal("x", 150, 152), "refuted", "150", "= 152"),
        (checks.near("x", 1.26, 1.25, 0.02), "supported", "1.26", "= 1.25 ± 0.02"),
        (checks.near("x", 1.22, 1.25, 0.02), "refuted", "1.22", "= 1.25 ± 0.02"),
        (checks.near("x", float("nan"), 1.0, 0.5), "refuted", "nan", "= 1 ± 0.5"),
        (checks.above("x", -2.5, -3), "supported", "−2.5", "> −3"),
        (checks.above("x", 3, 3), "refuted", "3", "> 3"),
        (checks.below("x", 3, 3), "supported", "3", "≤ 3"),
        (checks.below("x", 3.1, 3), "refuted", "3.1", "≤ 3"),
        (checks.below("x", float("nan"), 3), "refuted", "nan", "≤ 3"),
        (checks.holds("x", True), "supported", "yes", "yes"),
        (checks.holds("x", False), "refuted", "no", "yes"),
    ],
)
def test_checks_of_one_number(made: Check, verdict: str, measured: str, wanted: str) -> None:
    assert (made.verdict, made.measured, made.wanted) == (verdict, measured, wanted)


def test_exceeds_compares_the_interval_with_the_threshold() -> None:
    values = [0.97, 0.98, 0.99]  # 0.98 ± 0.0248, as in the test of the interval.
    assert checks.exceeds("x", values, 0.95).verdict == "supported"
    assert checks.exceeds("x", values, 1.01).verdict == "refuted"
    undecided = checks.exceeds("x", values, 0.96, " points", note="beside it")
    assert (undecided.verdict, undecided.measured, undecided.wanted) == (
        "underpowered",
        "0.98 ± 0.02484 points",
        "> 0.96 points",
    )
    assert undecided.note == "beside it; about 4 seeds would decide"


def test_exceeds_says_when_seeds_do_not_help() -> None:
    assert checks.exceeds("x", [1.0, -1.0], 0.0).note == "more seeds would hardly decide"
    alone = checks.exceeds("x", [1.0], 0.0)
    assert (alone.verdict, alone.measured, alone.note) == ("underpowered", "1 ± ?", "an interval needs 2 seeds or more")


@pytest.mark.parametrize(
    ("value", "text"), [(150_528_000, "150,528,000"), (2.0, "2"), (0.03124, "0.03124"), (-3.5, "−3.5"), (True, "True")]
)
def test_numbers_as_a_person_reads_them(value: float, text: str) -> None:
    assert checks.show(value) == text
