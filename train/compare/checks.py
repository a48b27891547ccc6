"""What a claim is judged by: checks that can fail, and the two answers that follow from them.

A check reads the article's sentence to the letter (`sentence`), or in the way that comes nearest to the truth
(`amended`), or repeats what a paper printed (`paper`). Two answers are kept apart: whether the article's sentence
holds, and whether our measurement agrees with the paper.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from train.compare import statistics
from train.compare.statistics import Interval, Verdict

Reading = Literal["sentence", "amended", "paper"]
Answer = Literal["supported", "refuted", "imprecise", "underpowered"]
Agreement = Literal["reproduced", "not reproduced", "underpowered", "nothing printed"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One question with its answer.

    Attributes:
        what: is measured.
        measured: what came out, as a person reads it.
        wanted: what was decided before: `= 152`, `> 10 points`.
        verdict: whether it holds.
        reading: of the article's sentence, or the paper's number.
        note: what a reader should know beside it.
    """

    what: str
    measured: str
    wanted: str
    verdict: Verdict
    reading: Reading = "sentence"
    note: str = ""

    def sentence(self) -> str:
        return f"{self.what}: {self.measured}, wanted {self.wanted}"


def equal(what: str, measured: float, wanted: float, reading: Reading = "sentence", note: str = "") -> Check:
    """The measured number is exactly this one."""
    return Check(what, show(measured), f"= {show(wanted)}", _verdict(measured == wanted), reading, note)


def near(
    what: str, measured: float, wanted: float, tolerance: float, reading: Reading = "sentence", note: str = ""
) -> Check:
    """The measured number lies within `tolerance` of this one."""
    holds = abs(measured - wanted) <= tolerance
    return Check(what, show(measured), f"= {show(wanted)} ± {show(tolerance)}", _verdict(holds), reading, note)


def above(what: str, measured: float, threshold: float, reading: Reading = "sentence", note: str = "") -> Check:
    """The measured number is greater than `threshold`."""
    return Check(what, show(measured), f"> {show(threshold)}", _verdict(measured > threshold), reading, note)


def below(what: str, measured: float, threshold: float, reading: Reading = "sentence", note: str = "") -> Check:
    """The measured number is at most `threshold`."""
    return Check(what, show(measured), f"≤ {show(threshold)}", _verdict(measured <= threshold), reading, note)


def holds(what: str, fact: bool, reading: Reading = "sentence", note: str = "") -> Check:
    """Something is so, or is not."""
    return Check(what, "yes" if fact else "no", "yes", _verdict(fact), reading, note)


def exceeds(
    what: str, values: Sequence[float], threshold: float, unit: str = "", reading: Reading = "sentence", note: str = ""
) -> Check:
    """The mean of one value for each seed is greater than `threshold`: its 95 % interval lies wholly above.

    Where the interval holds the threshold, the check is underpowered and says how many seeds would probably decide.
    """
    found = statistics.interval(values)
    verdict = statistics.verdict(found, threshold)
    if verdict == "underpowered":
        note = "; ".join(filter(None, (note, _what_would_decide(values, threshold))))
    return Check(what, show_interval(found, unit), f"> {show(threshold)}{unit}", verdict, reading, note)


def answer(checks: Sequence[Check]) -> Answer:
    """Whether the article's sentence holds.

    It is supported if all checks of the sentence are, underpowered if none is refuted but one lacks seeds; imprecise if
    the letter is refuted but the amended reading holds; refuted otherwise.
    """
    letter = [check.verdict for check in checks if check.reading == "sentence"]
    amended = [check.verdict for check in checks if check.reading == "amended"]
    if not letter:
        raise ValueError("a claim needs a check of the article's sentence")
    if "refuted" in letter:
        return "imprecise" if amended and set(amended) == {"supported"} else "refuted"
    return "underpowered" if "underpowered" in letter else "supported"


def agreement(checks: Sequence[Check]) -> Agreement:
    """Whether our numbers agree with what a paper printed."""
    found = {check.verdict for check in checks if check.reading == "paper"}
    if not found:
        return "nothing printed"
    if "refuted" in found:
        return "not reproduced"
    return "underpowered" if "underpowered" in found else "reproduced"


def why(checks: Sequence[Check]) -> str:
    """What decides: the first check of the sentence that fails, else that is undecided, else the first of them.

    Of an imprecise sentence also the first check of the reading that holds, of an undecided one what would decide.
    """
    letter = [check for check in checks if check.reading == "sentence"]
    weight = {"refuted": 0, "underpowered": 1, "supported": 2}
    decisive = min(letter, key=lambda check: weight[check.verdict])
    if answer(checks) == "imprecise":
        amended = next(check for check in checks if check.reading == "amended")
        return f"{decisive.sentence()}; amended, {amended.sentence()}"
    undecided = decisive.verdict == "underpowered" and decisive.note
    return f"{decisive.sentence()} ({decisive.note})" if undecided else decisive.sentence()


def show(value: float) -> str:
    """`150,528,000`, `0.0312`, `−3.5`."""
    if isinstance(value, bool) or not math.isfinite(value):
        return str(value)
    whole = float(value).is_integer() and abs(value) < 1e15
    text = f"{round(value):,}" if whole else f"{value:.4g}"
    return text.replace("-", "−")


def show_interval(interval: Interval, unit: str = "") -> str:
    width = show(interval.half_width) if math.isfinite(interval.half_width) else "?"
    return f"{show(interval.mean)} ± {width}{unit}"


def _what_would_decide(values: Sequence[float], threshold: float) -> str:
    if len(values) < 2:
        return "an interval needs 2 seeds or more"
    needed = statistics.seeds_needed(values, threshold)
    return f"about {needed} seeds would decide" if needed else "more seeds would hardly decide"


def _verdict(fact: bool) -> Verdict:
    return "supported" if fact else "refuted"
