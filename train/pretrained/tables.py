"""Tables of names: which tensor of a Hugging Face folder is which of our variables, and how it lies there.

A table is a tuple of entries, read in both directions. Names are templates: `{layer}` and the like stand for a number,
the same one on both sides. Parameters of scanned stacks are seen layer by layer, as those of looped ones.
"""

import dataclasses
import functools
import math
import re
import string
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

Shape = tuple[int, ...]
Part = Literal["body", "pooler", "head"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How axes of ours become axes of theirs: "D H K -> (H K) D" merges H and K, then exchanges the two.

    Invertible, since our shape is known. "1" is an axis of length 1 that one side alone has.
    """

    pattern: str

    def their_shape(self, shape: Shape) -> Shape:
        sizes = self._sizes(shape)
        return tuple(math.prod(sizes[axis] for axis in group) for group in self._theirs)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        ours = [axis for axis in self._ours if axis != "1"]
        sizes = self._sizes(array.shape)
        split = array.reshape([sizes[axis] for axis in ours])
        return split.transpose([ours.index(axis) for axis in self._order]).reshape(self.their_shape(array.shape))

    def to_ours(self, tensor: np.ndarray, shape: Shape) -> np.ndarray:
        ours = [axis for axis in self._ours if axis != "1"]
        sizes = self._sizes(shape)
        split = tensor.reshape([sizes[axis] for axis in self._order])
        return split.transpose([self._order.index(axis) for axis in ours]).reshape(shape)

    def _sizes(self, shape: Shape) -> dict[str, int]:
        return {"1": 1, **dict(zip(self._ours, shape, strict=True))}

    @functools.cached_property
    def _ours(self) -> list[str]:
        return self.pattern.partition("->")[0].split()

    @functools.cached_property
    def _theirs(self) -> list[list[str]]:
        groups = re.findall(r"\([^)]*\)|\S+", self.pattern.partition("->")[2])
        return [group.strip("()").split() for group in groups]

    @functools.cached_property
    def _order(self) -> list[str]:
        """Our axes, as they follow each other in theirs."""
        return [axis for group in self._theirs for axis in group if axis != "1"]


SCALAR = Layout("->")
VECTOR = Layout("D -> D")
MATRIX = Layout("I O -> I O")  # embeddings, and what transformers calls Conv1D
LINEAR = Layout("I O -> O I")
CONVOLUTION = Layout("X Y I O -> O I X Y")
HEADS_IN = Layout("D H K -> (H K) D")
HEADS_OUT = Layout("H K D -> D (H K)")
HEADS_IN_CONV1D = Layout("D H K -> D (H K)")
HEADS_OUT_CONV1D = Layout("H K D -> (H K) D")
HEADS_BIAS = Layout("H K -> (H K)")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor of theirs.

    Attributes:
        names: templates of its name, without the prefix of the family; the first is written, all are read. A folder
            that has several of them (tied weights) must hold the same numbers in each.
        places: templates of the paths of our variables in their collection; where they are several, theirs joins them
            along its last axis.
        layout: of each of ours in theirs.
        part: of the model. Of a head or a pooler, a config may want new ones.
        collection: of our variables.
        counter: name of an integer that PyTorch keeps beside the tensor; not read, and written as 0.
        is_grid: whether it holds positions of a class token and a square grid of patches, which may be another grid.
    """

    names: tuple[str, ...]
    places: tuple[str, ...]
    layout: Layout
    part: Part = "body"
    collection: str = "params"
    counter: str | None = None
    is_grid: bool = False


@dataclasses.dataclass(frozen=True)
class Head:
    """What stands on the body: the class of transformers that has it, and its tensors."""

    architecture: str
    entries: tuple[Entry, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An entry for given numbers: names of theirs (without prefix), paths of ours, and their shapes."""

    entry: Entry
    names: tuple[str, ...]
    shapes: Mapping[str, Shape]
    counter: str | None

    @property
    def their_shape(self) -> Shape:
        shapes = [self.entry.layout.their_shape(shape) for shape in self.shapes.values()]
        return shapes[0] if len(shapes) == 1 else (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def full_name(self, prefix: str) -> str:
        """The name to write, with the prefix that the body has in this folder."""
        return self.names[0] if self.entry.part == "head" else prefix + self.names[0]

    def to_ours(self, tensor: np.ndarray) -> dict[str, np.ndarray]:
        """Our variables, by path."""
        parts = [tensor] if len(self.shapes) == 1 else np.split(tensor, len(self.shapes), axis=-1)
        layout = self.entry.layout
        return {
            path: layout.to_ours(part, shape) for (path, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def to_theirs(self, variables: Mapping[str, np.ndarray]) -> np.ndarray:
        parts = [self.entry.layout.to_theirs(variables[path]) for path in self.shapes]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def resolve(table: Iterable[Entry], shapes: Mapping[str, Shape]) -> tuple[list[Tensor], list[str]]:
    """The tensors that hold our variables, and the paths of variables that none holds.

    Args:
        table: entries.
        shapes: of our variables by path, scanned layers apart.
    """
    tensors: dict[tuple[str, ...], Tensor] = {}
    nowhere = []
    entries = list(table)
    for path in shapes:
        found = next(((entry, numbers) for entry in entries if (numbers := _place(entry, path)) is not None), None)
        if found is None:
            nowhere.append(path)
            continue
        entry, numbers = found
        paths = [f"{entry.collection}/{place}".format(**numbers) for place in entry.places]
        if not shapes.keys() >= set(paths):  # some mixers read no keys, which the tensor holds too
            nowhere.append(path)
            continue
        names = tuple(name.format(**numbers) for name in entry.names)
        tensors[names] = Tensor(
            entry=entry,
            names=names,
            shapes={path: shapes[path] for path in paths},
            counter=None if entry.counter is None else entry.counter.format(**numbers),
        )
    return list(tensors.values()), nowhere


def _place(entry: Entry, path: str) -> dict[str, str] | None:
    """The numbers for which a path of ours is one of the entry's."""
    collection, _, place = path.partition("/")
    if collection != entry.collection:
        return None
    found = (_matches(template, place) for template in entry.places)
    return next((numbers for numbers in found if numbers is not None), None)


def is_named(template: str, name: str) -> bool:
    """Whether a name is the template's for some numbers."""
    return _matches(template, name) is not None


def _matches(template: str, name: str) -> dict[str, str] | None:
    match = _pattern(template).fullmatch(name)
    return None if match is None else match.groupdict()


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    parts = string.Formatter().parse(template)
    return re.compile("".join(re.escape(text) + (rf"(?P<{field}>\d+)" if field else "") for text, field, _, _ in parts))


# What tables are made of. The arguments are a module of theirs and a place of ours.


def norm(theirs: str, ours: str, part: Part = "body") -> tuple[Entry, ...]:
    """Layer normalisation; gamma and beta are its names in checkpoints that came from TensorFlow."""
    return (
        Entry((f"{theirs}.weight", f"{theirs}.gamma"), (f"{ours}/scale",), VECTOR, part),
        Entry((f"{theirs}.bias", f"{theirs}.beta"), (f"{ours}/bias",), VECTOR, part),
    )


def batch_norm(theirs: str, ours: str) -> tuple[Entry, ...]:
    """Batch normalisation, with its statistics."""
    mean = Entry((f"{theirs}.running_mean",), (f"{ours}/mean",), VECTOR, collection="batch_stats")
    variance = Entry((f"{theirs}.running_var",), (f"{ours}/var",), VECTOR, collection="batch_stats")
    return (
        Entry((f"{theirs}.weight",), (f"{ours}/scale",), VECTOR),
        Entry((f"{theirs}.bias",), (f"{ours}/bias",), VECTOR),
        mean,
        dataclasses.replace(variance, counter=f"{theirs}.num_batches_tracked"),
    )


def linear(theirs: str, ours: str, part: Part = "body", layout: Layout = LINEAR) -> tuple[Entry, ...]:
    return _kernel_and_bias(theirs, ours, layout, VECTOR, part)


def heads_in(theirs: str, ours: str) -> tuple[Entry, ...]:
    """A projection to heads: queries, keys or values."""
    return _kernel_and_bias(theirs, ours, HEADS_IN, HEADS_BIAS)


def heads_out(theirs: str, ours: str, layout: Layout = HEADS_OUT) -> tuple[Entry, ...]:
    """The projection of all heads to the output."""
    return _kernel_and_bias(theirs, ours, layout, VECTOR)


def convolution(theirs: str, ours: str) -> tuple[Entry, ...]:
    return _kernel_and_bias(theirs, ours, CONVOLUTION, VECTOR)


def _kernel_and_bias(theirs: str, ours: str, kernel: Layout, bias: Layout, part: Part = "body") -> tuple[Entry, ...]:
    """A model may do without the bias: only what it has is looked for."""
    return (
        Entry((f"{theirs}.weight",), (f"{ours}/kernel",), kernel, part),
        Entry((f"{theirs}.bias",), (f"{ours}/bias",), bias, part),
    )


def within(theirs: str, ours: str, *entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Entries whose names and places stand within others."""
    return tuple(
        dataclasses.replace(
            entry,
            names=tuple(f"{theirs}.{name}" for name in entry.names),
            places=tuple(f"{ours}/{place}" for place in entry.places),
            counter=None if entry.counter is None else f"{theirs}.{entry.counter}",
        )
        for group in entries
        for entry in group
    )
