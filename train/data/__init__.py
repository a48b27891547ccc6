"""From a source to global batches: source -> split -> augmentation -> view -> batch, all on arrays of whole batches.

What batch a step gets is a function of (seed, step) alone: the rows of step s are positions s*B … s*B+B-1 in an endless
sequence of shuffled epochs, and augmentation draws its random numbers for the whole batch before a process takes its
rows. So the position of the data is the step, the number of processes and workers changes nothing, and any step can be
made at once, without those before it.
"""

import dataclasses
import functools
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol

import jax
import numpy as np
from flax.core import FrozenDict

from train import mesh as meshes
from train.data import resize, views
from train.errors import UserError

Arrays = dict[str, np.ndarray]

# Streams of random numbers of one seed.
SHUFFLE, AUGMENT = 1, 2
HELD_OUT_SEED = 0  # Which examples are held out for validation never depends on the seed of a run.
DEVICE_AHEAD = 2  # Batches on their way to the device while one is computed on.


class Examples(Protocol):
    """Random access to examples, many at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        """The examples at `indices` [B], as arrays with a leading dimension B."""
        ...


class Source(Protocol):
    """A data set: a frozen dataclass whose fields say where and which.

    `num_classes` is how many values its `label` takes; None if it has none or does not know. A source of tokens says in
    `vocab_sizes` how many values they take, by the field of the model that must be as large.
    """

    @property
    def num_classes(self) -> int | None: ...

    def splits(self) -> tuple[str, ...]: ...

    def split(self, name: str) -> Examples: ...


class Augmentation(Protocol):
    """A random change of images, in two parts so that the draws are those of the global batch."""

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray: ...

    def apply(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Data:
    """What `config.data` describes.

    Attributes:
        source: where examples come from.
        batch_size: examples in one global batch.
        view: how an image becomes the model's input; None takes the view that the model declares.
        image_size: images are resized to this many rows and columns; None leaves them as they are.
        permutation_seed: pixels change places by one fixed permutation, the same for all images; None leaves them.
        train_fraction: part of the training examples that is used.
        validation_fraction: part of the training split that is held out as the split `validation`.
        augmentation: random changes of training images, by name.
        cache: keep decoded examples in memory.
        workers: processes that make batches; 0 uses threads of this one.
    """

    source: Source
    batch_size: int
    view: Literal["image", "rows", "pixels", "flat"] | None = None
    image_size: int | None = None
    permutation_seed: int | None = None
    train_fraction: float = 1.0
    validation_fraction: float = 0.0
    augmentation: Mapping[str, Augmentation] = FrozenDict()
    cache: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        limits = {"batch_size": 1 <= self.batch_size < 2**31, "workers": self.workers >= 0}
        limits["image_size"] = self.image_size is None or self.image_size >= 1
        limits["permutation_seed"] = self.permutation_seed is None or self.permutation_seed >= 0
        limits["train_fraction"] = 0 < self.train_fraction <= 1
        limits["validation_fraction"] = 0 <= self.validation_fraction < 1
        for field, holds in limits.items():
            if not holds:
                raise UserError(f"config.data.{field}: {getattr(self, field)} is out of range.")

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a Data lives as long as the program; a cached split is its point.
    def split(self, name: str) -> Examples:
        """The examples of a split; `train` and `validation` share the source's training split without overlap.

        Raises:
            UserError: there is no such split, or it is empty.
        """
        held_out = self.validation_fraction > 0
        known = self.source.splits() + (("validation",) if held_out else ())
        if name not in known:
            hint = "; set config.data.validation_fraction to hold one out" if name == "validation" else ""
            raise UserError(f"split {name!r} does not exist{hint}. Allowed: {', '.join(known)}.")
        if name == "train" or (held_out and name == "validation"):
            examples: Examples = self._part_of_training(name)
        else:
            examples = self.source.split(name)
        if len(examples) == 0:
            raise UserError(f"split {name!r} is empty.")
        return Cached(examples) if self.cache else examples

    def _part_of_training(self, name: str) -> Examples:
        whole = self.source.split("train")
        order = np.random.default_rng(HELD_OUT_SEED).permutation(len(whole))
        cut = round(self.validation_fraction * len(whole))
        if name == "validation":
            return Subset(whole, np.sort(order[:cut]))
        kept = order[cut : cut + math.ceil(self.train_fraction * (len(whole) - cut))]
        return Subset(whole, np.sort(kept))

    def prepare(self, batch: Arrays, view: str | None) -> Arrays:
        """Resizes and permutes images and turns them into `view`; what has no image passes unchanged."""
        if "image" not in batch:
            return _numbers(batch)
        image = views.scale(batch["image"])
        if self.image_size is not None:
            image = resize.resize(image, self.image_size)
        if self.permutation_seed is not None:
            image = views.permute_pixels(image, self.permutation_seed)
        rest = {key: value for key, value in batch.items() if key != "image"}
        return _numbers(rest) | views.VIEWS[view or "image"](image)

    def spec(self, view: str | None) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes [B, ...] and types of a training batch."""
        example = self.prepare(self.split("train")[np.zeros(1, int)], view)
        return {k: jax.ShapeDtypeStruct((self.batch_size, *v.shape[1:]), v.dtype) for k, v in example.items()}


def _numbers(batch: Arrays) -> Arrays:
    """What a device can hold: text, such as the names of files, stays behind."""
    return {name: array for name, array in batch.items() if array.dtype.kind in "biuf"}


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some of the examples, by their indices."""

    examples: Examples
    chosen: np.ndarray

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        return self.examples[self.chosen[indices]]


class Cached:
    """Keeps every example that was read in memory, as one array for each key."""

    def __init__(self, examples: Examples):
        self.examples = examples
        self.present = np.zeros(len(examples), bool)
        self.arrays: Arrays = {}

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        missing = np.unique(indices[~self.present[indices]])
        if missing.size:
            self._fill(missing, self.examples[missing])
        return {key: array[indices] for key, array in self.arrays.items()}

    def _fill(self, indices: np.ndarray, values: Arrays) -> None:
        for key, value in values.items():
            known = self.arrays.get(key, value)
            if known.dtype != value.dtype or known.shape[1:] != value.shape[1:]:
                raise UserError(f"config.data.cache: examples differ in the shape or type of {key!r}; set it to False.")
            # setdefault is atomic: threads that fill at the same time share one array.
            self.arrays.setdefault(key, np.empty((len(self), *value.shape[1:]), value.dtype))[indices] = value
        self.present[indices] = True


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """The rows `rows` of the batch of every step, as a random-access sequence over steps."""

    data: Data
    view: str | None
    seed: int
    steps: int
    rows: slice

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Arrays:
        examples = self.data.split("train")
        size = self.data.batch_size
        positions = np.arange(step * size, (step + 1) * size)[self.rows]
        batch = examples[shuffled(self.seed, len(examples), positions)]
        for number, augmentation in enumerate(self.data.augmentation.values()):
            draws = augmentation.draw(np.random.default_rng((AUGMENT, self.seed, step, number)), size)[self.rows]
            batch = batch | {"image": augmentation.apply(batch["image"], draws)}
        return self.data.prepare(batch, self.view)


@dataclasses.dataclass(frozen=True)
class EvaluationBatches:
    """A split in its order; the last batch is filled up with rows whose `valid` is False.

    Attributes:
        transform: an augmentation with fixed draws, applied to every image; None for none.
    """

    data: Data
    view: str | None
    split: str
    rows: slice
    transform: tuple[Augmentation, np.ndarray] | None = None

    def __len__(self) -> int:
        return math.ceil(len(self.data.split(self.split)) / self.data.batch_size)

    def __getitem__(self, number: int) -> Arrays:
        examples = self.data.split(self.split)
        size = self.data.batch_size
        positions = np.arange(number * size, (number + 1) * size)[self.rows]
        valid = positions < len(examples)
        batch = examples[np.where(valid, positions, 0)]
        if self.transform is not None:
            augmentation, draw = self.transform
            draws = np.broadcast_to(draw, (len(positions), *draw.shape))
            batch = batch | {"image": augmentation.apply(batch["image"], draws)}
        return self.data.prepare(batch, self.view) | {"valid": valid}


def shuffled(seed: int, size: int, positions: np.ndarray) -> np.ndarray:
    """Indices of examples at `positions` of an endless sequence of epochs, each shuffled by (seed, epoch)."""
    epochs, offsets = np.divmod(positions, size)
    indices = np.empty_like(offsets)
    for epoch in np.unique(epochs):
        in_epoch = epochs == epoch
        indices[in_epoch] = _permutation(seed, int(epoch), size)[offsets[in_epoch]]
    return indices


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((SHUFFLE, seed, epoch)).permutation(size)


def on_devices(
    batches: TrainingBatches | EvaluationBatches, mesh: jax.sharding.Mesh, start: int = 0
) -> Iterator[dict[str, jax.Array]]:
    """Global batches on the mesh, from number `start` on, made and copied ahead of their use."""
    import grain  # Takes long to import, and a config is checked without it.

    data = batches.data
    steps: Any = grain.MapDataset.source(batches)[start:]
    host = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4))
    if data.workers and isinstance(batches, TrainingBatches):  # Evaluations are too short for processes to start.
        _parse_absl_flags()
        host = host.mp_prefetch(grain.MultiprocessingOptions(num_workers=data.workers))
    waiting: deque[dict[str, jax.Array]] = deque()
    for batch in host:
        waiting.append(meshes.put_batch(mesh, batch, batches.rows, data.batch_size))
        if len(waiting) > DEVICE_AHEAD:
            yield waiting.popleft()
    yield from waiting


def _parse_absl_flags() -> None:
    """Grain's workers read absl flags, which must have been parsed, even if there are none."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["train"])
