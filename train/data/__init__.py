"""From a source to global batches, all on arrays of whole batches: source -> split -> layout (of texts, as tokens) ->
augmentation -> view (of images or sound) -> batch.

What batch a step gets is a function of (seed, step) alone: the rows of step s are positions s*B … s*B+B-1 in an endless
sequence of shuffled epochs, and augmentation draws its random numbers for the whole batch before a process takes its
rows. So the position of the data is the step, the number of processes and workers changes nothing, and any step can be
made at once, without those before it.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import jax
import numpy as np
from etils import epath
from flax.core import FrozenDict

from train.data import layouts, resize, sequences, views, vocabulary
from train.data.vocabulary import Tokenizer, Vocabulary
from train.errors import UserError

Arrays = dict[str, np.ndarray]

# Streams of random numbers of one seed.
SHUFFLE, AUGMENT = 1, 2
HELD_OUT_SEED = 0  # Which examples are held out for validation never depends on the seed of a run.
POOL = 50  # Batches among whose examples those of similar length are put together.


class Examples(Protocol):
    """Random access to examples, many at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        """The examples at `indices` [B], as arrays with a leading dimension B.

        Texts are arrays of Python strings, which layouts read and devices never see. An entry `origin` says where an
        example comes from, such as `train.tsv:17`, for messages.
        """
        ...


class Source(Protocol):
    """A data set: a frozen dataclass whose fields say where and which.

    `num_classes` is how many values its `label` takes; None if it has none or does not know. A source of tokens says in
    `vocab_sizes` how many values they take, by the field of the model that must be as large. One whose `audio` may be
    viewed otherwise says in `sample_rate` how many samples are a second.
    """

    @property
    def num_classes(self) -> int | None: ...

    def splits(self) -> tuple[str, ...]: ...

    def split(self, name: str) -> Examples: ...


class Layout(Protocol):
    """How texts become what a model reads; see `train.data.layouts`."""

    @property
    def texts(self) -> tuple[str, ...]: ...

    def sizes(self, vocabulary: Vocabulary) -> dict[str, int]: ...

    def arrange(self, examples: Any, vocabulary: Vocabulary, split: str) -> Any: ...


class Augmentation(Protocol):
    """A random change of one entry of a batch, in two parts so that the draws are those of the global batch."""

    @property
    def changes(self) -> str:
        """The entry: `image` or `audio`."""
        ...

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray: ...

    def apply(self, values: np.ndarray, draws: np.ndarray, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Data:
    """What `config.data` describes.

    Attributes:
        source: where examples come from.
        batch_size: examples in one global batch.
        view: how an image or sound becomes the model's input; None takes the view that the model declares, of sound
            the one in its place (`views.OF_SOUND`).
        image_size: images are resized to this many rows and columns; None leaves them as they are.
        permutation_seed: pixels change places by one fixed permutation, the same for all images; None leaves them.
        train_fraction: part of the training examples that is used.
        validation_fraction: part of the training split that is held out as the split `validation`.
        augmentation: random changes of training examples, by name.
        tokenizer: how texts are cut into tokens; trained on the texts of the training split.
        layout: how texts become what the model reads; goes with a tokenizer.
        length_buckets: lengths, in increasing order, that sequences are padded to, the same for all sequences of a
            batch: the first that holds them all, else the layout's own. In training, examples of similar length then
            share a batch. Empty pads all to the layout's length.
        cache: keep decoded examples in memory.
        workers: processes that make batches; 0 uses threads of this one.
        tokenizer_file: where the tokenizer of a run is, which is read instead of trained.
    """

    source: Source
    batch_size: int
    view: Literal["image", "rows", "pixels", "flat", "tokens", "audio", "waveform", "log_mel"] | None = None
    image_size: int | None = None
    permutation_seed: int | None = None
    train_fraction: float = 1.0
    validation_fraction: float = 0.0
    augmentation: Mapping[str, Augmentation] = FrozenDict()
    tokenizer: Tokenizer | None = None
    layout: Layout | None = None
    length_buckets: tuple[int, ...] = ()
    cache: bool = False
    workers: int = 0
    tokenizer_file: epath.Path | None = None

    def __post_init__(self) -> None:
        limits = {"batch_size": 1 <= self.batch_size < 2**31, "workers": self.workers >= 0}
        limits["image_size"] = self.image_size is None or self.image_size >= 1
        limits["permutation_seed"] = self.permutation_seed is None or self.permutation_seed >= 0
        limits["train_fraction"] = 0 < self.train_fraction <= 1
        limits["validation_fraction"] = 0 <= self.validation_fraction < 1
        for field, holds in limits.items():
            if not holds:
                raise UserError(f"config.data.{field}: {getattr(self, field)} is out of range.")
        if (self.tokenizer is None) != (self.layout is None):
            missing = "tokenizer" if self.tokenizer is None else "layout"
            raise UserError(f"config.data.{missing}.name: is missing; a tokenizer and a layout go together.")
        if list(self.length_buckets) != sorted(set(self.length_buckets)) or min(self.length_buckets, default=1) < 1:
            raise UserError(f"config.data.length_buckets: {self.length_buckets} are not increasing numbers from 1 on.")

    @functools.lru_cache(maxsize=2)  # noqa: B019 - as below.
    def vocabulary(self) -> Vocabulary | None:
        """What turns texts into tokens, if there are any: read from the run, or trained on its training split."""
        if self.tokenizer is None or self.layout is None:
            return None
        if self.tokenizer_file is not None:
            return vocabulary.load(self.tokenizer_file, self.tokenizer.special)
        examples = self._source_split("train")
        texts = [text for name in dict.fromkeys(self.layout.texts) for text in layouts.read_texts(examples, name)]
        return Vocabulary(self.tokenizer.train(texts), self.tokenizer.special)

    def sizes(self) -> dict[str, int]:
        """What a model must be large enough for, by its fields: classes, tokens, positions."""
        classes = self.source.num_classes
        sizes = {} if classes is None else {"num_classes": classes}
        sizes |= getattr(self.source, "vocab_sizes", {})
        known = self.vocabulary()
        return sizes if known is None or self.layout is None else sizes | self.layout.sizes(known)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a Data lives as long as the program; a cached split is its point.
    def split(self, name: str) -> Examples:
        """The examples of a split; `train` and `validation` share the source's training split without overlap.

        Raises:
            UserError: there is no such split, it is empty, or its texts do not fit the layout.
        """
        examples = self._source_split(name)
        known = self.vocabulary()
        if self.layout is not None and known is not None:
            examples = self.layout.arrange(examples, known, name)
        if self.length_buckets and not hasattr(examples, "lengths"):
            raise UserError("config.data.length_buckets: the data have no sequences to pad; leave it out.")
        return examples

    def _source_split(self, name: str) -> Examples:
        """A split as its source has it."""
        held_out = self.validation_fraction > 0
        if held_out and "validation" in self.source.splits():
            raise UserError(
                "config.data.validation_fraction: the source has a validation split already, which would not be read; "
                "set it to 0."
            )
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

    @functools.lru_cache(maxsize=4)  # noqa: B019 - as above.
    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The indices of all training examples, in the order of an epoch."""
        examples: Any = self.split("train")
        rng = np.random.default_rng((SHUFFLE, seed, epoch))
        order = rng.permutation(len(examples))
        if not self.length_buckets:
            return order
        longest = np.max(list(examples.lengths.values()), axis=0)
        return _similar_together(order, longest, self.batch_size, rng)

    def batch(self, examples: Any, indices: np.ndarray, rows: slice) -> Arrays:
        """The rows `rows` of the global batch of the examples at `indices`, padded as the longest of all needs."""
        batch = examples[indices[rows]]
        if not self.length_buckets:
            return batch
        lengths = {name: lengths[indices].max() for name, lengths in examples.lengths.items()}
        widths = [bucket for bucket in self.length_buckets if bucket >= max(lengths.values())]
        return batch | {name: batch[name][:, : widths[0]] for name in lengths if widths}

    def prepare(self, batch: Arrays, view: str | None) -> Arrays:
        """Resizes and permutes images, and turns images or sound into `view`; all else passes unchanged."""
        if "image" in batch:
            rest = {key: value for key, value in batch.items() if key != "image"}
            return _numbers(rest) | views.of_image(self._image(batch["image"]), view)
        if "audio" in batch:
            rest = {key: value for key, value in batch.items() if key not in ("audio", "audio_mask")}
            sample_rate = getattr(self.source, "sample_rate", 0)
            return _numbers(rest) | views.of_sound(batch["audio"], batch["audio_mask"], sample_rate, view)
        return _numbers(batch)

    def _image(self, image: np.ndarray) -> np.ndarray:
        image = views.scale(image)
        if self.image_size is not None:
            image = resize.resize(image, self.image_size)
        return image if self.permutation_seed is None else views.permute_pixels(image, self.permutation_seed)

    def spec(self, view: str | None) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes [B, ...] and types of a training batch."""
        example = self.prepare(self.split("train")[np.zeros(1, int)], view)
        return {k: jax.ShapeDtypeStruct((self.batch_size, *v.shape[1:]), v.dtype) for k, v in example.items()}


def _changed(batch: Arrays, augmentation: Augmentation, draws: np.ndarray) -> Arrays:
    return batch | {augmentation.changes: augmentation.apply(batch[augmentation.changes], draws)}


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

    def column(self, name: str) -> np.ndarray:
        return sequences.column(self.examples, name)[self.chosen]


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

    def column(self, name: str) -> np.ndarray:
        return sequences.column(self.examples, name)

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
        positions = np.arange(step * size, (step + 1) * size)
        indices = shuffled(functools.partial(self.data.order, self.seed), len(examples), positions)
        batch = self.data.batch(examples, indices, self.rows)
        for number, augmentation in enumerate(self.data.augmentation.values()):
            draws = augmentation.draw(np.random.default_rng((AUGMENT, self.seed, step, number)), size)[self.rows]
            batch = _changed(batch, augmentation, draws)
        return self.data.prepare(batch, self.view)


@dataclasses.dataclass(frozen=True)
class EvaluationBatches:
    """A split in its order; the last batch is filled up with rows whose `valid` is False.

    Attributes:
        transform: an augmentation with a fixed draw, applied to every example; None for none.
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
        positions = np.arange(number * size, (number + 1) * size)
        valid = positions < len(examples)
        batch = self.data.batch(examples, np.where(valid, positions, 0), self.rows)
        valid = valid[self.rows]
        if self.transform is not None:
            augmentation, draw = self.transform
            batch = _changed(batch, augmentation, np.broadcast_to(draw, (len(valid), *draw.shape)))
        return self.data.prepare(batch, self.view) | {"valid": valid}


def shuffled(order: Callable[[int], np.ndarray], size: int, positions: np.ndarray) -> np.ndarray:
    """Indices of examples at `positions` of an endless sequence of epochs, each in the `order` of its number."""
    epochs, offsets = np.divmod(positions, size)
    indices = np.empty_like(offsets)
    for epoch in np.unique(epochs):
        in_epoch = epochs == epoch
        indices[in_epoch] = order(int(epoch))[offsets[in_epoch]]
    return indices


def _similar_together(order: np.ndarray, lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """An order of examples in which those of similar length share a batch, and batches come in random order."""
    pools = np.split(order, np.arange(POOL * batch_size, len(order), POOL * batch_size))
    ordered = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
    whole = len(ordered) // batch_size * batch_size
    batches = rng.permutation(ordered[:whole].reshape(-1, batch_size))
    return np.concatenate([batches.ravel(), ordered[whole:]])
