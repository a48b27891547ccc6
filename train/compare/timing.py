"""How long a training step takes here, one config beside another.

Clocks drift and machines are shared, so a time by itself means little: steps of both are taken in turn, and what counts
is the median of their ratios.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from train import experiment, step
from train import mesh as meshes
from train.data import TrainingBatches

ROUNDS = 11
SECONDS = 0.1  # Of one measurement at least: many steps where a step is short.


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A step of one config to a step of the reference.

    Attributes:
        value: the median of the ratios of all rounds.
        noise: half the width of its 95 % interval, about (McGill et al., 1978: 1.57 interquartile ranges / √rounds).
        seconds: median time of a step.
        reference_seconds: of a step of the reference.
    """

    value: float
    noise: float
    seconds: float
    reference_seconds: float


def ratio(config: ConfigDict, reference: ConfigDict, rounds: int = ROUNDS) -> Ratio:
    """Compiles the steps of both and measures them beside each other."""
    return beside(steps_of(experiment.build(config)), steps_of(experiment.build(reference)), rounds)


def beside(steps: "Steps", reference: "Steps", rounds: int = ROUNDS) -> Ratio:
    """Takes steps in turn, in rounds that begin with the one and with the other."""
    pair = (steps, reference)
    times = np.empty((rounds, 2))
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            times[number, which] = pair[which].seconds()
    return summary(times)


def summary(times: np.ndarray) -> Ratio:
    """Of the times of both in each round, [rounds, 2]."""
    ratios = times[:, 0] / times[:, 1]
    low, high = np.percentile(ratios, [25, 75])
    seconds, reference = np.median(times, axis=0)
    noise = 1.57 * (high - low) / math.sqrt(len(ratios))
    return Ratio(float(np.median(ratios)), float(noise), float(seconds), float(reference))


class Steps:
    """A compiled update, with a state, which it consumes and replaces, and a batch."""

    def __init__(self, update: Callable[[Any, Any], tuple[Any, Any]], state: Any, batch: Any):
        self.update, self.state, self.batch = update, state, batch
        self._take(1)  # It compiles.
        self.count = max(1, math.ceil(SECONDS / self._take(1)))

    def seconds(self) -> float:
        """Mean time of as many steps as make a measurement."""
        return self._take(self.count) / self.count

    def _take(self, count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            self.state, _ = self.update(self.state, self.batch)
        jax.block_until_ready(self.state)
        return time.perf_counter() - begun


def steps_of(built: experiment.Experiment) -> Steps:
    """Those of a run, on its first batch."""
    mesh = built.mesh_shape.build()
    compiled = step.compile_steps(built.recipe, mesh, built.spec)
    rows = meshes.local_rows(mesh, built.data.batch_size)
    batches = TrainingBatches(built.data, built.view, built.run.seed, 1, rows)

    def update(state: Any, batch: Any) -> tuple[Any, Any]:
        with jax.set_mesh(mesh), jax.default_matmul_precision(built.run.matmul_precision):
            return compiled.train(state, batch)

    with jax.set_mesh(mesh):
        state = compiled.init(built.run.seed)
    return Steps(update, state, meshes.put_batch(mesh, batches[0], rows, built.data.batch_size))
