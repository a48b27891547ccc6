"""Tables of text: one example a line, columns separated by tabs; quotes are letters like others."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from train.data import files
from train.data.arrays import InMemory
from train.data.labelled_files import check_labels
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
        check_labels(self.labels)

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
        opened = files.opened(self.path, f"{FIELD}.path")
        name = files.choose(opened, getattr(self, split), f"{FIELD}.{split}")
        table = read(opened, name, self._columns(), header=self.header)
        for label, origin in zip(table.get("label", ()), table["origin"], strict=False):
            if not label:
                raise UserError(f"{origin}: has no label; fill it in, or remove the line.")
        return table


def read(opened: files.Files, name: str, columns: Mapping[str, Column], *, header: bool) -> dict[str, list[str]]:
    """Columns of the table in the file `name`, under the names of the config fields that say which, and `origin`.

    Raises:
        UserError: the table is empty, has no such column, or a line has not as many columns as the first.
    """
    rows = list(files.lines(opened, name))
    if len(rows) <= header:
        raise UserError(f"{opened.place}: the table {name} is empty.")
    first = rows[0][1].split("\t")
    places = {field: _place(field, column, first, name) for field, column in columns.items()}
    table: dict[str, list[Any]] = {field: [] for field in (*places, "origin")}
    for origin, line in rows[header:]:
        cells = line.split("\t")
        if len(cells) != len(first):
            raise UserError(f"{origin}: has {len(cells)} columns, and the first line has {len(first)}.")
        for field, place in places.items():
            table[field].append(cells[place])
        table["origin"].append(origin)
    return table


def _place(field: str, column: Column, first: list[str], name: str) -> int:
    """The position of a column, by the first line."""
    if isinstance(column, str):
        if column not in first:
            raise UserError(f"{FIELD}.{field}: {name}:1 names no column {column!r}; {nearest(column, first)}")
        return first.index(column)
    if column >= len(first):
        raise UserError(f"{FIELD}.{field}: {name}:1 has no column {column}, but {len(first)}, counted from 0.")
    return column
