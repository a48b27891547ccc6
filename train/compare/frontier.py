"""What accuracy costs: every evaluation of some runs, by the operations of training until then."""

import dataclasses
from collections.abc import Iterable, Mapping

from train.compare.lab import Run, Study, measure

PASSES = 3  # An update is a forward pass, and a backward pass that costs twice as much.


@dataclasses.dataclass(frozen=True)
class Frontier:
    """The best that was reached within a number of operations.

    Attributes:
        points: operations of training and a metric for which more is better, in any order, of one run or of several
            that compete.
    """

    points: tuple[tuple[float, float], ...]

    @property
    def first(self) -> float:
        """The fewest operations after which anything was measured."""
        return min(operations for operations, _ in self.points)

    @property
    def last(self) -> float:
        """The most."""
        return max(operations for operations, _ in self.points)

    @property
    def best(self) -> float:
        return self.within(self.last)

    def within(self, operations: float) -> float:
        """The best value within a number of operations, not below `first`."""
        return max(value for spent, value in self.points if spent <= operations)

    def needed(self, value: float) -> float:
        """The fewest operations that reach a value, which is not above `best`."""
        return min(spent for spent, reached in self.points if reached >= value)


def frontiers(variants: Iterable[tuple[Study, str]], metric: str) -> Mapping[int, Frontier]:
    """The frontier of one competitor for each seed, over its runs.

    Args:
        variants: studies and labels of the variants that stand for the competitor.
        metric: by step in the log, such as `test/accuracy`.
    """
    found: dict[int, list[tuple[float, float]]] = {}
    for study, variant in variants:
        for run in study.finished(variant):
            each = update_flops(run)
            found.setdefault(run.seed, []).extend((step * each, value) for step, value in run.curve(metric).items())
    return {seed: Frontier(tuple(points)) for seed, points in found.items()}


def update_flops(run: Run) -> int:
    """Operations of one update."""
    return PASSES * measure(run.config)["flops_forward"] * run.config.data.batch_size
