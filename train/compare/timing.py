"""How long a training step takes here, one config beside another.

Clocks drift and machines are shared, so a time by itself means little: steps of both are taken in turn, and what counts
is the median of their ratios.
"""

import dataclasses
import math
import time

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
    """Compiles both and takes steps in turn, in rounds that begin with the one and with the other."""
    pair = [Steps(config), Steps(reference)]
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
    """The compiled training step of a config, with a state and a batch on the device."""

    def __init__(self, config: ConfigDict):
        self.built = experiment.build(config)
        self.mesh = self.built.mesh_shape.build()
        self.compiled = step.compile_steps(self.built.recipe, self.mesh, self.built.spec)
        rows = meshes.local_rows(self.mesh, self.built.data.batch_size)
        batches = TrainingBatches(self.built.data, self.built.view, self.built.run.seed, 1, rows)
        self.batch = meshes.put_batch(self.mesh, batches[0], rows, self.built.data.batch_size)
        with jax.set_mesh(self.mesh):
            self.state = self.compiled.init(self.built.run.seed)
        self._take(1)  # It compiles.
        self.count = max(1, math.ceil(SECONDS / self._take(1)))

    def seconds(self) -> float:
        """Mean time of as many steps as make a measurement."""
        return self._take(self.count) / self.count

    def _take(self, count: int) -> float:
        with jax.set_mesh(self.mesh), jax.default_matmul_precision(self.built.run.matmul_precision):
            begun = time.perf_counter()
            for _ in range(count):
                self.state, _ = self.compiled.train(self.state, self.batch)
            jax.block_until_ready(self.state)
            return time.perf_counter() - begun
