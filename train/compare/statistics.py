"""What may be concluded from a few seeds: Student-t intervals, paired differences, Holm, a verdict.

An interval speaks of the seeds (initialisation, order of the data, dropout), not of another draw of test
examples.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

Verdict = Literal["supported", "refuted", "underpowered"]


class Interval(NamedTuple):
    """The mean of n values and its confidence interval `mean ± half_width`; below two values that is nan."""

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of `values` and its Student-t interval, `t · s / √n` to each side (s with n - 1)."""
    from scipy.special import (
        stdtrit,
    )  # The inverse of Student's t; scipy.stats takes four times as long to import.

    count = len(values)
    mean = float(np.mean(values)) if count else float("nan")
    if count < 2:
        return Interval(mean, float("nan"), count)
    quantile = float(stdtrit(count - 1, (1 + confidence) / 2))
    return Interval(mean, quantile * float(np.std(values, ddof=1)) / count**0.5, count)


def paired_differences(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """`first - second`, seed by seed, over the seeds that both have."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def p_value(differences: Sequence[float]) -> float:
    """The two-sided p of Student's t test that the mean of `differences` is zero; nan below two values."""
    from scipy.special import stdtr

    count = len(differences)
    if count < 2:
        return float("nan")
    mean, error = float(np.mean(differences)), float(np.std(differences, ddof=1)) / count**0.5
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(count - 1, -abs(mean) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being tested together (Holm, 1979), in the order given.

    The smallest is multiplied by their number m, the next by m - 1, …, and none may be below the one before
    it. A nan (a test that could not be done) stays nan and is not counted.
    """
    adjusted = [float("nan")] * len(p_values)
    order = sorted((p, index) for index, p in enumerate(p_values) if p == p)
    floor = 0.0
    for rank, (p, index) in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - rank) * p))
        adjusted[index] = floor
    return adjusted


def verdict(difference: Interval, threshold: float = 0.0) -> Verdict:
    """Supported if the interval lies wholly above `threshold`, refuted if wholly below, else underpowered."""
    if difference.low > threshold:
        return "supported"
    if difference.high < threshold:
        return "refuted"
    return "underpowered"


MOST_SEEDS = 1000


def seeds_needed(values: Sequence[float], threshold: float = 0.0, confidence: float = 0.95) -> int | None:
    """How many seeds would put the interval wholly past `threshold`, if mean and spread stayed as in `values`.

    None below two values, and where more than 1,000 would be needed.
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    counts = np.arange(2, MOST_SEEDS + 1)
    widths = stdtrit(counts - 1, (1 + confidence) / 2) * float(np.std(values, ddof=1)) / np.sqrt(counts)
    enough = widths < abs(float(np.mean(values)) - threshold)
    return int(counts[np.argmax(enough)]) if enough.any() else None
