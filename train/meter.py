"""Metrics of updates, read one interval late so that the device never waits for the host, and the time they took."""

import time
from typing import Any

import jax
import numpy as np

from train.checkpoint import Checkpoints
from train.errors import Diverged
from train.experiment import Experiment
from train.writers import Writers


class Meter:
    """Collects the metrics of updates and reports their means, one interval late."""

    def __init__(self, experiment: Experiment, writer: Writers, checkpoints: Checkpoints):
        self._every = experiment.run.log_every
        self._batch_size = experiment.data.batch_size
        self._writer = writer
        self._checkpoints = checkpoints
        self._current: list[dict[str, Any]] = []
        self._waiting: tuple[int, list[dict[str, Any]]] | None = None
        self._compiled = False
        self._done = 0
        self._timed_steps, self._timed_seconds = 0, 0.0
        self.resume()

    @property
    def mean_step_time(self) -> float | None:
        return self._timed_seconds / self._timed_steps if self._timed_steps else None

    def add(self, done: int, metrics: dict[str, Any]) -> None:
        self._done = done
        self._current.append(metrics)
        if not self._compiled:  # The first update compiles; timing starts after it.
            jax.block_until_ready(metrics)
            self._compiled = True
            self.resume(skip=1)
        elif done % self._every == 0:
            self._report()
            self._waiting, self._current = (done, self._current), []

    def flush(self) -> None:
        """Reports everything, waiting for the device."""
        if self._current:
            jax.block_until_ready(self._current[-1])
        steps = self._untimed_steps()
        seconds = time.monotonic() - self._since
        step_time = seconds / steps if steps > 0 else None
        self._timed_steps += steps
        self._timed_seconds += seconds if steps else 0.0
        self._report(step_time)
        if self._current:
            self._waiting, self._current = (self._done, self._current), []
            self._report(step_time)

    def resume(self, skip: int = 0) -> None:
        """Starts the clock, at the start and after a pause for something else than training."""
        self._since = self._mark = time.monotonic()
        self._skip = skip

    def _untimed_steps(self) -> int:
        waiting = len(self._waiting[1]) if self._waiting else 0
        return waiting + len(self._current) - self._skip

    def _report(self, step_time: float | None = None) -> None:
        """Reads the interval that waits: on a busy device it ended about now."""
        if self._waiting is None:
            return
        done, interval = self._waiting
        self._waiting = None
        values = jax.device_get(interval)
        now = time.monotonic()
        if step_time is None:
            step_time = (now - self._mark) / len(values)
        self._mark = now
        self._refuse_nonfinite(values)
        row: dict[str, float] = {
            f"train/{name}": _mean(values, name) for name in values[0] if name != "first_nonfinite"
        }
        self._writer.write(
            {"step": done, **row, "step_time": step_time, "examples_per_second": self._batch_size / step_time}
        )

    def _refuse_nonfinite(self, values: list[dict[str, Any]]) -> None:
        """Raises Diverged if any of the updates read met a number that is not finite."""
        for metrics in values:
            if metrics["first_nonfinite"]:
                rate = metrics["learning_rate"][0]
                latest = self._checkpoints.latest()
                good = self._checkpoints.path(latest) if latest is not None else "none"
                raise Diverged(
                    f"loss, gradient or update is not finite at step {int(metrics['first_nonfinite'])} "
                    f"(learning rate {rate:.3g}); last good checkpoint: {good}"
                )


def _mean(values: list[dict[str, Any]], name: str) -> float:
    """The mean over an interval, from pairs of sums and counts."""
    pairs = np.asarray([metrics[name] for metrics in values], np.float64)
    total, count = pairs.sum(0)
    return float(total / count) if count else float("nan")
