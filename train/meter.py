"""Metrics of updates, read one interval late so that the device never waits for the host, and the time they took."""

import time
from collections import deque
from typing import Any

import jax
import numpy as np

from train.checkpoint import Checkpoints
from train.errors import Diverged
from train.experiment import Experiment
from train.writers import Writers

# Updates on their way: enough to keep a device busy, few enough that the clock, and a signal to stop, are not late.
DEPTH = 8

Metrics = dict[str, Any]
Interval = tuple[int, list[Metrics], float | None]  # The last update, metrics of each, seconds for one.


class Meter:
    """Collects the metrics of updates and reports their means.

    Runs that are trained `together` share the clock: each is said to take its share of the time.
    """

    def __init__(self, experiment: Experiment, writer: Writers, checkpoints: Checkpoints, together: int = 1):
        self._every = experiment.run.log_every
        self._batch_size = experiment.data.batch_size
        self._together = together
        self._writer = writer
        self._checkpoints = checkpoints
        self._done = 0
        self._current: list[Metrics] = []
        self._waiting: Interval | None = None
        self._flying: deque[Any] = deque()
        self._compiled = False
        self._timed_steps, self._timed_seconds = 0, 0.0
        self.resume()

    @property
    def mean_step_time(self) -> float | None:
        """Seconds for one update, over all but the first, which compiles."""
        return self._timed_seconds / self._timed_steps if self._timed_steps else None

    def resume(self) -> None:
        """Starts the clock, at the start and after a pause for something else than training."""
        self._mark = time.monotonic()
        self._untimed = 0

    def add(self, done: int, metrics: Metrics) -> None:
        """Takes note of update number `done`, and reports the interval before the last."""
        self._done = done
        self._current.append(metrics)
        self._flying.append(metrics["first_nonfinite"])
        if len(self._flying) > DEPTH:
            jax.block_until_ready(self._flying.popleft())
        if not self._compiled:
            jax.block_until_ready(metrics)
            self._compiled = True
            self.resume()
            self._untimed = 1
        if done % self._every == 0:
            self._report()
            self._waiting = self._close()

    def flush(self) -> None:
        """Reports everything, waiting for the device."""
        self._report()
        if self._current:
            jax.block_until_ready(self._current[-1])
            self._waiting = self._close()
            self._report()

    def _close(self) -> Interval:
        """Ends the current interval and stamps it."""
        now = time.monotonic()
        steps, seconds = len(self._current) - self._untimed, (now - self._mark) / self._together
        interval = (self._done, self._current, seconds / steps if steps else None)
        if steps:
            self._timed_steps += steps
            self._timed_seconds += seconds
        self._current, self._mark, self._untimed = [], now, 0
        return interval

    def _report(self) -> None:
        """Reads the interval that waits: on a busy device it ended about now."""
        if self._waiting is None:
            return
        (done, interval, step_time), self._waiting = self._waiting, None
        values = jax.device_get(interval)
        self._refuse_nonfinite(values)
        row: dict[str, Any] = {"step": done}
        row |= {f"train/{name}": _mean(values, name) for name in values[0] if name != "first_nonfinite"}
        if step_time is not None:
            row |= {"step_time": step_time, "examples_per_second": self._batch_size / step_time}
        self._writer.write(row)

    def _refuse_nonfinite(self, values: list[Metrics]) -> None:
        """Raises Diverged if any of the updates read met a number that is not finite."""
        for metrics in values:
            if metrics["first_nonfinite"]:
                rate = metrics["learning_rate"][0]
                raise Diverged(
                    f"loss, gradient or update is not finite at step {int(metrics['first_nonfinite'])} "
                    f"(learning rate {rate:.3g}); last good checkpoint: {self._checkpoints.newest()}"
                )


def _mean(values: list[Metrics], name: str) -> float:
    """The mean over an interval, from pairs of sums and counts."""
    pairs = np.asarray([metrics[name] for metrics in values], np.float64)
    total, count = pairs.sum(0)
    return float(total / count) if count else float("nan")
