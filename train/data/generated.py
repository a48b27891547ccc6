"""What sources that generate their examples share."""

from typing import Any

import numpy as np

from train.errors import UserError

SPLITS = ("train", "validation", "test")


def generator(seed: int, split: str) -> np.random.Generator:
    """The random numbers of a split, which depend on `seed` and its name alone."""
    return np.random.default_rng((seed, SPLITS.index(split)))


def check(source: Any, **least: float) -> None:
    """Checks fields of a source, each against the least that it may be.

    Raises:
        UserError: one of them is less.
    """
    for field, value in least.items():
        if getattr(source, field) < value:
            raise UserError(f"config.data.source.{field}: {getattr(source, field)} is less than {value}.")
