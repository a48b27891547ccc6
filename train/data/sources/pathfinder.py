"""Pathfinder (Linsley et al., 2018, https://arxiv.org/abs/1805.08315) on 32x32 pixels, as in the Long Range Arena (Tay
et al., 2020): does a dashed curve join the two dots?

By the rules of https://github.com/drewlinsley/pathfinder, with the numbers of lra_benchmarks/data/pathfinder.py of
https://github.com/google-research/long-range-arena. Two curves begin near the centre and grow by turns, dash after
dash, each turned by an angle d with probability proportional to cos² d and never where another dash is; shorter curves
are strewn about, as far as there is room. One dot is where one of the two begins, the other where the same curve ends
(label 1) or the other does (label 0). So the classes differ in the place of a dot alone.

Here curves have real coordinates and a distance to keep, the original has pixels and masks of what is taken; the latest
dash of the other curve counts as taken too; dashes are one pixel wide and smoothed over their edges by distance.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np

from train.data import generated
from train.data.arrays import InMemory

CONTOUR_LENGTHS = {"easy": 6, "intermediate": 9, "hard": 14}  # Dashes of the two curves.
SIZE = 32  # Rows and columns; all lengths are in pixels.
PADDING = 1  # Free of dashes at all edges.
DASH = 2  # Length of a dash.
MARGIN = 1  # From a dash to the point where the curve bends; two of them are a gap.
CLEARANCE = 2 * MARGIN  # Between dashes that do not follow each other.
SEED_DISTANCE = 7  # Between the beginnings of the two curves.
DOT_RADIUS = 1.5
DISTRACTOR_SHARE, DISTRACTOR_DASHES = 3, 20  # A distractor's length is a third of a curve's; 20 dashes in all.
TRIES = 5  # To place a distractor.
ANGLES = 24  # Among which a curve chooses.
TOGETHER = 500  # Images that are drawn at a time.
REACH = 4  # A dash is looked at up to so many pixels from its middle.
FAR = 2 * SIZE**2  # Squared distance of what is not looked at.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `image` [32, 32, 1], from 0 to 1, and `label`: 1 for half of the examples, where a curve joins the dots.

    Attributes:
        difficulty: curves of 6, 9 or 14 dashes; the Long Range Arena reports "hard".
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the generator; another seed is another data set.
    """

    difficulty: Literal["easy", "intermediate", "hard"] = "hard"
    train_size: int = 10_000
    eval_size: int = 1_000
    seed: int = 0

    num_classes = 2

    def __post_init__(self) -> None:
        generated.check(self, train_size=1, eval_size=1, seed=0)

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        image, label = _images(self, name)
        return InMemory({"image": image, "label": label})


@functools.lru_cache(maxsize=3)
def _images(source: Source, split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images [N, 32, 32, 1] and labels [N] of a split."""
    size = source.train_size if split == "train" else source.eval_size
    rng = generated.generator(source.seed, split)
    length = CONTOUR_LENGTHS[source.difficulty]
    label = rng.permutation(np.arange(size) % 2).astype(np.int32)
    parts: list[np.ndarray] = []
    done = 0
    while done < size:
        dashes, nearest = two_curves(rng, length)
        nearest = _strewn(rng, nearest, length // DISTRACTOR_SHARE)
        chosen = label[done : done + len(dashes)]
        parts.append(_drawn(rng, dashes[: len(chosen)], nearest[: len(chosen)], chosen))
        done += len(chosen)
    return np.concatenate(parts), label


@dataclasses.dataclass
class _Curve:
    """A growing curve in each of N images.

    Attributes:
        dashes: in the order of growth, [N, dashes, 2, 2]: beginning and end, row and column.
        angle: of the last dash, [N].
        alive: whether there was room so far, [N].
        others: squared distance of all pixels to the nearest dash but the last of this curve, see `_add`.
    """

    dashes: np.ndarray
    angle: np.ndarray
    alive: np.ndarray
    others: np.ndarray

    @classmethod
    def begun(cls, beginning: np.ndarray, angle: np.ndarray, nearest: np.ndarray) -> "_Curve":
        """Curves of one dash, alive where it is far enough from all others."""
        dash = _dash(beginning, angle)
        return cls(dash[:, None], angle, _is_free(dash, nearest), nearest.copy())

    def keep(self, chosen: np.ndarray) -> "_Curve":
        """The curves of some images."""
        return _Curve(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    def grow(self, rng: np.random.Generator) -> None:
        """Adds a dash, where there is room."""
        bend = self.dashes[:, -1, 1] + MARGIN * _towards(self.angle)
        turns = np.pi * ((np.arange(ANGLES) + rng.random((len(bend), 1))) / ANGLES - 0.5)
        angles = self.angle[:, None] + turns
        choices = _dash(bend[:, None] + MARGIN * _towards(angles), angles)
        chances = np.cumsum(np.cos(turns) ** 2 * _is_free(choices, self.others), axis=1)
        self.alive = self.alive & (chances[:, -1] > 0)
        chosen = np.sum(chances <= rng.random((len(bend), 1)) * chances[:, -1:], axis=1) % ANGLES
        image = np.arange(len(bend))
        _add(self.others, self.dashes[:, -1])
        self.angle = angles[image, chosen]
        self.dashes = np.concatenate([self.dashes, choices[image, chosen][:, None]], axis=1)


def two_curves(rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Two curves in each of N images, as many as find room.

    Returns:
        Dashes [N, 2, length, 2, 2]: of either curve, in the order of growth, their beginning and end, row and column.
        Squared distance of all pixels to the nearest dash, see `_add`.
    """
    nearest = np.full((TOGETHER, SIZE + 2 * REACH, SIZE + 2 * REACH), FAR, np.float32)
    first = SIZE / 2 + rng.uniform(-1, 1, (TOGETHER, 2)) * (SIZE / 2 - 2 * SEED_DISTANCE)
    second = first + SEED_DISTANCE * _towards(rng.uniform(0, 2 * np.pi, TOGETHER))
    one = _Curve.begun(first, rng.uniform(0, 2 * np.pi, TOGETHER), nearest)
    _add(nearest, one.dashes[:, 0])
    two = _Curve.begun(second, rng.uniform(0, 2 * np.pi, TOGETHER), nearest)
    _add(one.others, two.dashes[:, 0])
    for _ in range(length - 1):
        for curve, other in ((one, two), (two, one)):
            curve.grow(rng)
            _add(other.others, curve.dashes[:, -1])
        alive = one.alive & two.alive
        one, two = one.keep(alive), two.keep(alive)
    return np.stack([one.dashes, two.dashes], axis=1), np.minimum(one.others, two.others)


def _strewn(rng: np.random.Generator, nearest: np.ndarray, length: int) -> np.ndarray:
    """The squared distances to the nearest dash after shorter curves have joined."""
    for _ in range(DISTRACTOR_DASHES // length):
        missing = np.arange(len(nearest))
        for _ in range(TRIES):
            alive, joined = _distractor(rng, nearest[missing], length)
            nearest[missing[alive]] = joined[alive]
            missing = missing[~alive]
    return nearest


def _distractor(rng: np.random.Generator, nearest: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether a curve finds room in each image, and the squared distances to the nearest dash with it."""
    places = rng.uniform(0, SIZE, (len(nearest), ANGLES, 2))
    angles = rng.uniform(0, 2 * np.pi, (len(nearest), ANGLES))
    image, chosen = np.arange(len(nearest)), np.argmax(_is_free(_dash(places, angles), nearest), axis=1)
    curve = _Curve.begun(places[image, chosen], angles[image, chosen], nearest)
    for _ in range(length - 1):
        curve.grow(rng)
    _add(curve.others, curve.dashes[:, -1])
    return curve.alive, curve.others


def _drawn(rng: np.random.Generator, dashes: np.ndarray, nearest: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Images [N, 32, 32, 1] with a dot where one of the curves begins, and one where it or the other ends."""
    image, curve = np.arange(len(label)), rng.integers(2, size=len(label))
    begins, ends = dashes[image, curve, 0, 0], dashes[image, np.where(label == 1, curve, 1 - curve), -1, 1]
    dots = np.full_like(nearest, FAR)
    for place in (begins, ends):
        _add(dots, np.stack([place, place], axis=1))
    drawn = np.clip(np.maximum(1 - np.sqrt(nearest), DOT_RADIUS + 0.5 - np.sqrt(dots)), 0, 1)
    return drawn[:, REACH:-REACH, REACH:-REACH, None]


def _towards(angle: np.ndarray) -> np.ndarray:
    """A step of one pixel, [..., 2]."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _dash(beginning: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Beginning and end, [..., 2, 2]."""
    return np.stack([beginning, beginning + DASH * _towards(angle)], axis=-2)


def _is_free(dashes: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Whether dashes [N, ..., 2, 2] are inside of their image, and far enough from all that `nearest` tells of."""
    shares = np.linspace(0, 1, DASH + 1)[:, None]
    points = dashes[..., :1, :] * (1 - shares) + dashes[..., 1:, :] * shares
    inside = np.all((points >= PADDING) & (points <= SIZE - 1 - PADDING), axis=-1)
    rows, columns = np.moveaxis(np.clip(np.rint(points), 0, SIZE - 1).astype(int) + REACH, -1, 0)
    image = np.arange(len(dashes)).reshape(-1, *[1] * (rows.ndim - 1))
    return np.all(inside & (nearest[image, rows, columns] >= CLEARANCE**2), axis=-1)


def _add(nearest: np.ndarray, dash: np.ndarray) -> None:
    """Adds a dash [N, 2, 2], or a point if its ends are one, to the squared distances [N, 4 + 32 + 4, 4 + 32 + 4].

    Those beyond its reach stay as they are.
    """
    middle = np.clip(np.rint(dash.mean(axis=1)), 0, SIZE - 1).astype(int)
    rows, columns = (middle[:, axis, None] + np.arange(-REACH, REACH + 1) for axis in range(2))
    begin, along = dash[:, 0], dash[:, 1] - dash[:, 0]
    row_offset, column_offset = (rows - begin[:, :1])[:, :, None], (columns - begin[:, 1:])[:, None]
    product = row_offset * along[:, 0, None, None] + column_offset * along[:, 1, None, None]
    share = np.clip(product / DASH**2, 0, 1)
    distance = np.hypot(row_offset - share * along[:, 0, None, None], column_offset - share * along[:, 1, None, None])
    place = (np.arange(len(dash))[:, None, None], rows[:, :, None] + REACH, columns[:, None] + REACH)
    nearest[place] = np.minimum(nearest[place], distance**2)
