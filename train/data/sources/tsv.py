"""Tables of text: one example a line, columns separated by tabs."""

import dataclasses
import functools
from typing import Any

import numpy as np

from train.data import files
from train.data.arrays import InMemory
from train.errors import UserError, nearest

Column = int | str
FIELD = "config.data.source"


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `text` and, where they are asked for, `text_pair` and `label`, the number of a name in `labels`.

    Columns are named by their position, from 0, or by their name in the header.

    Attributes:
        path: a folder or an archive, from here or from the folder that DATA_DIR names.
        train, validation, test: files of the splits; None where there is none.
        text: the column of the text.
        text_pair: that of a second one.
        label: that of the class.
        header: whether the first line names the columns.
        labels: names of the classes, in the order of their numbers; empty takes those of the training split, sorted.
    """

    path: str
    train: str = "train.tsv"
    validation: str | None = None
    test: str | None = None
    text: Column = 0
    text_pair: Column | None = None
    label: Column | None = None
    header: bool = False
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, column in self._columns().items():
            if isinstance(column, str) and not self.header:
                raise UserError(f"{FIELD}.{name}: {column!r} is a name, which needs {FIELD}.header=True.")
            if isinstance(column, int) and column < 0:
                raise UserError(f"{FIELD}.{name}: {column} is out of range; positions count from 0.")
        if self.labels and self.label is None:
            raise UserError(f"{FIELD}.labels: does nothing without {FIELD}.label.")

    @property
    def num_classes(self) -> int | None:
        return None if self.label is None else len(self._classes)

    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in ("train", "validation", "test") if getattr(self, name) is not None)

    def split(self, name: str) -> InMemory:
        columns = {key: np.asarray(values, object) for key, values in self._table(name).items()}
        if self.label is not None:
            columns["label"] = self._numbers(columns["label"], columns["origin"])
        return InMemory(columns)

    def _numbers(self, labels: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """The number of each label."""
        numbers = {label: number for number, label in enumerate(self._classes)}
        for label, origin in zip(labels, origins, strict=True):
            if label not in numbers:
                raise UserError(f"{origin}: label {label!r} is unknown; {nearest(label, numbers)}")
        return np.asarray([numbers[label] for label in labels], np.int32)

    @functools.cached_property
    def _classes(self) -> tuple[str, ...]:
        return self.labels or tuple(sorted(set(self._table("train")["label"])))

    def _columns(self) -> dict[str, Column]:
        given = {"text": self.text, "text_pair": self.text_pair, "label": self.label}
        return {name: column for name, column in given.items() if column is not None}

    def _table(self, split: str) -> dict[str, list[str]]:
        """The chosen columns of a split, and where each line stands."""
        opened = files.opened(self.path, f"{FIELD}.path")
        rows = list(files.lines(opened, files.choose(opened, getattr(self, split), f"{FIELD}.{split}")))
        first = rows[0][1].split("\t") if rows else []
        if self.header:
            rows = rows[1:]
        places = {name: self._place(name, column, first) for name, column in self._columns().items()}
        table: dict[str, list[Any]] = {name: [] for name in (*places, "origin")}
        for origin, line in rows:
            cells = line.split("\t")
            if len(cells) != len(first):
                raise UserError(f"{origin}: has {len(cells)} columns, and the first line has {len(first)}.")
            for name, place in places.items():
                table[name].append(cells[place])
            table["origin"].append(origin)
        return table

    def _place(self, name: str, column: Column, first: list[str]) -> int:
        if isinstance(column, str):
            if column not in first:
                raise UserError(f"{FIELD}.{name}: there is no column {column!r}; {nearest(column, first)}")
            return first.index(column)
        if column >= len(first):
            raise UserError(f"{FIELD}.{name}: there is no column {column}; the table has {len(first)}.")
        return column
