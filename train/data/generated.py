"""What sources that generate their examples share."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from train.data.sources import digits
from train.errors import UserError

SPLITS = ("train", "validation", "test")
DRAWS_FOR_ONE = 20  # Draws for each example that is asked for, after which there are taken to be no more.


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


def different(source: Any, draw: Callable[[random.Random], tuple[Any, ...]], split: str) -> list[tuple[Any, ...]]:
    """The examples of a split of a source with `seed`, `train_size` and `eval_size`: what `draw` gives, nothing twice.

    Those of the test come first, so another `train_size` leaves them as they are.

    Raises:
        UserError: `draw` does not give so many different ones.
    """
    rng = random.Random(source.seed)
    wanted = 2 * source.eval_size + source.train_size
    found: dict[tuple[Any, ...], None] = {}
    for _ in range(DRAWS_FOR_ONE * wanted):
        found[draw(rng)] = None
        if len(found) == wanted:
            break
    else:
        raise UserError(
            f"config.data.source: {len(found)} different examples were found, and {wanted} are asked for; lower "
            "train_size or eval_size."
        )
    start = {"test": 0, "validation": source.eval_size, "train": 2 * source.eval_size}[split]
    return list(found)[start : start + (source.train_size if split == "train" else source.eval_size)]


def columns(examples: list[tuple[str, ...]], *names: str) -> dict[str, np.ndarray]:
    """Texts by the name of their column."""
    return {name: np.asarray(column, object) for name, column in zip(names, zip(*examples, strict=True), strict=True)}
