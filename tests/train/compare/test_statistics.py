"""The statistics against scipy.stats, against printed examples, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from train.compare.statistics import Interval, holm, interval, p_value, paired_differences, seeds_needed, verdict


@pytest.mark.parametrize("count", [2, 3, 5, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_interval_is_scipys(count: int, confidence: float) -> None:
    values = np.random.default_rng(count).normal(0.97, 0.01, count).tolist()
    low, high = stats.t.interval(confidence, count - 1, np.mean(values), stats.sem(values))
    ours = interval(values, confidence)
    assert (ours.low, ours.high, ours.n) == (pytest.approx(low), pytest.approx(high), count)


def test_interval_of_three_values_by_hand() -> None:
    # s = 0.01, t(2, 0.975) = 4.302653: 4.302653 * 0.01 / √3.
    assert interval([0.97, 0.98, 0.99]) == (pytest.approx(0.98), pytest.approx(0.0248414), 3)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_too_few_values_give_no_interval(values: list[float]) -> None:
    ours = interval(values)
    assert math.isnan(ours.half_width) and ours.n == len(values)
    assert math.isnan(ours.mean) == (not values)
    assert math.isnan(p_value(values))


@pytest.mark.parametrize("count", [3, 5, 10])
def test_interval_covers_the_mean_95_times_in_100(count: int) -> None:
    samples = np.random.default_rng(0).normal(0, 1, (4000, count)).tolist()
    covered = np.mean([i.low <= 0 <= i.high for i in map(interval, samples)])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_differences_are_taken_over_the_common_seeds() -> None:
    assert paired_differences({0: 3.0, 1: 5.0, 2: 9.0}, {2: 4.0, 0: 1.0, 7: 0.0}) == [2.0, 5.0]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_p_value_is_scipys_paired_test(count: int) -> None:
    first, second = np.random.default_rng(count).normal(0, 1, (2, count))
    assert p_value((first - second).tolist()) == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_p_value_of_constant_differences() -> None:
    assert p_value([0.25, 0.25, 0.25]) == 0.0
    assert p_value([0.0, 0.0]) == 1.0


def test_holm_by_hand() -> None:
    # 0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04 · 1 raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_keeps_order_and_bounds_and_skips_what_was_not_tested() -> None:
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([float("nan"), 0.02, 0.01]) == pytest.approx([float("nan"), 0.02, 0.02], nan_ok=True)


@pytest.mark.parametrize(
    ("difference", "threshold", "expected"),
    [
        (Interval(0.02, 0.01, 3), 0.0, "supported"),
        (Interval(0.02, 0.01, 3), 0.015, "underpowered"),
        (Interval(0.02, 0.01, 3), 0.04, "refuted"),
        (Interval(-0.02, 0.01, 3), 0.0, "refuted"),
        (Interval(0.01, 0.01, 3), 0.0, "underpowered"),
        (Interval(0.5, float("nan"), 1), 0.0, "underpowered"),
    ],
)
def test_verdict(difference: Interval, threshold: float, expected: str) -> None:
    assert verdict(difference, threshold) == expected


@pytest.mark.parametrize("threshold", [0.0, 1.5, 5.0])
def test_seeds_needed_is_the_first_count_whose_interval_decides(threshold: float) -> None:
    values = [1.0, 5.0]
    needed = seeds_needed(values, threshold)
    assert needed is not None and needed > len(values)

    def decided(count: int) -> str:
        width = stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / count**0.5
        return verdict(Interval(3.0, width, count), threshold)

    assert decided(needed - 1) == "underpowered" != decided(needed)


def test_seeds_needed_by_hand() -> None:
    # s = 2.828; t(4) = 2.776 gives 3.51 at 5 seeds, t(5) = 2.571 gives 2.97 < 3 at 6.
    assert seeds_needed([1.0, 5.0]) == 6
    assert seeds_needed([2.0, 2.0]) == 2


@pytest.mark.parametrize("values", [[], [1.0], [1.0, -1.0], [1.0, -0.99]])
def test_seeds_needed_is_none_where_no_reasonable_number_decides(values: list[float]) -> None:
    assert seeds_needed(values) is None
