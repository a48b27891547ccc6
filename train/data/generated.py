"""What sources that generate their examples share."""

from typing import Any

import numpy as np

from train.data.sources import digits
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


def digits_of(split: str) -> dict[str, np.ndarray]:
    """Scikit-learn's digits for a split: its test images for the test, every fifth of the others for validation."""
    arrays = digits.Source().split("test" if split == "test" else "train").arrays
    if split == "test":
        return arrays
    is_held_out = np.arange(len(arrays["label"])) % 5 == 0
    return {name: array[is_held_out == (split == "validation")] for name, array in arrays.items()}
