"""The adding problem (Hochreiter & Schmidhuber, 1997, section 5.4, as set up by Bai et al., 2018, section 4.1).

Each step holds a number from [0, 1] and a marker; two steps are marked, one in each half, and the target is the sum of
their numbers. Always answering 1 gives a mean squared error of 1/6.
"""

import dataclasses

import numpy as np

from train.data.arrays import InMemory
from train.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `sequence` [length, 2] and `target` [1].

    Attributes:
        length: steps in time.
        train_size: training examples; Bai et al. use 50,000.
        eval_size: examples in each of the other splits; Bai et al. use 1,000.
        seed: of the generator; another seed is another data set.
    """

    length: int = 100
    train_size: int = 50_000
    eval_size: int = 1_000
    seed: int = 0

    num_classes = None
    chance_loss = 1 / 6  # Mean squared error of the best constant: the variance of the sum of two numbers.

    def __post_init__(self) -> None:
        for field, least in (("length", 2), ("train_size", 1), ("eval_size", 1), ("seed", 0)):
            if getattr(self, field) < least:
                raise UserError(f"config.data.source.{field}: {getattr(self, field)} is less than {least}.")

    def splits(self) -> tuple[str, ...]:
        return SPLITS

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        rng = np.random.default_rng((self.seed, SPLITS.index(name)))
        values = rng.random((size, self.length), np.float32)
        half = self.length // 2
        marked = np.stack([rng.integers(half, size=size), rng.integers(half, self.length, size=size)], axis=1)
        markers = np.zeros_like(values)
        np.put_along_axis(markers, marked, 1.0, axis=1)
        target = np.take_along_axis(values, marked, axis=1).sum(1, keepdims=True)
        return InMemory({"sequence": np.stack([values, markers], axis=-1), "target": target})
