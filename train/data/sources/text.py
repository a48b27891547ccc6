"""Plain text, for models of language and for learning by hiding words: files, columns of tables, prepared data sets."""

import dataclasses
import logging
import posixpath
from collections.abc import Iterator
from typing import Literal

import numpy as np

from train.data import files, sequences
from train.data.arrays import InMemory
from train.data.sources import tfds, tsv
from train.errors import UserError, nearest

log = logging.getLogger(__name__)

FIELD = "config.data.source"
TFDS = "tfds:"
Place = str  # Where a text comes from, such as `train.tsv:17`.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `text`.

    A split is made of one or more of these, in the order in which they are given:

    - `PATH`: a file, or all files of a folder or an archive, in alphabetical order;
    - `PATH:COLUMN`: a column of a table as the source `tsv` reads it, by position, or by name if it has a header;
    - `tfds:NAME`: the entry `text` of a data set prepared by TFDS, of its split with the name of the field.

    Paths are looked up from here and in the folder that DATA_DIR names. Empty lines and cells are no texts.

    Attributes:
        train, validation, test: where the texts of the splits are; empty where there is none.
        unit: what one text is: a whole "file" (or entry of a data set), or each "line". A cell of a table is one in
            either case.
        validation_fraction: part of the characters of `train`, at its end, that is the split `validation` instead.
        test_fraction: likewise for `test`, which comes last. Files are cut there; a line or a cell remains whole if the
            unit is a line, and belongs where it begins.
    """

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    unit: Literal["file", "line"] = "file"
    validation_fraction: float = 0.0
    test_fraction: float = 0.0

    num_classes = None

    def __post_init__(self) -> None:
        if not self.train:
            raise UserError(f"{FIELD}.train: names no text; set it to a file, a folder, or several of them.")
        for name, fraction in (("validation", self.validation_fraction), ("test", self.test_fraction)):
            if not 0 <= fraction < 1:
                raise UserError(f"{FIELD}.{name}_fraction: {fraction} is out of range.")
            if fraction and getattr(self, name):
                raise UserError(f"{FIELD}.{name}_fraction: is in conflict with {FIELD}.{name}; leave out one of them.")
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError(f"{FIELD}.test_fraction: {self.test_fraction} leaves no text for training.")

    def splits(self) -> tuple[str, ...]:
        held_out = {"validation": self.validation_fraction, "test": self.test_fraction}
        return ("train", *(name for name, fraction in held_out.items() if getattr(self, name) or fraction))

    def split(self, name: str) -> InMemory:
        given = name if getattr(self, name) else "train"
        texts = [text for path in getattr(self, given) for text in self._texts(path, given)]
        if given == "train":
            texts = self._part(texts, name)
        return InMemory(
            {
                "text": np.asarray([text for _, text in texts], object),
                "origin": np.asarray([place for place, _ in texts], object),
            }
        )

    def _part(self, texts: list[tuple[Place, str]], split: str) -> list[tuple[Place, str]]:
        """Those of the training texts that belong to a split."""
        validation_at, test_at = 1 - self.validation_fraction - self.test_fraction, 1 - self.test_fraction
        shares = {"train": (0, validation_at), "validation": (validation_at, test_at), "test": (test_at, 1)}
        size = sum(len(text) for _, text in texts)
        first, end = (int(size * share) for share in shares[split])
        part, begin = [], 0
        for place, text in texts:
            if self.unit == "file":
                kept = text[max(first - begin, 0) : max(end - begin, 0)]
            else:
                kept = text if first <= begin < end else ""
            if kept:
                part.append((place, kept))
            begin += len(text)
        return part

    def _texts(self, path: str, split: str) -> list[tuple[Place, str]]:
        """The texts of one entry of a split.

        Raises:
            UserError: there are none, or they cannot be read.
        """
        if path.startswith(TFDS):
            found = self._in_units(_from_tfds(path, split))
        elif ":" in posixpath.basename(path):
            found = _from_table(path, split)
        else:
            found = self._in_units(_from_files(path, split))
        given = list(found)
        texts = [(place, text) for place, text in given if text.strip()]
        if not texts:
            raise UserError(f"{FIELD}.{split}: {path!r} holds no text.")
        if len(texts) < len(given):
            log.warning("%s: %d of %d texts are empty, and left out", path, len(given) - len(texts), len(given))
        return texts

    def _in_units(self, texts: Iterator[tuple[Place, str]]) -> Iterator[tuple[Place, str]]:
        for place, text in texts:
            yield from files.numbered(text, place) if self.unit == "line" else [(place, text)]


def _from_files(path: str, split: str) -> Iterator[tuple[Place, str]]:
    opened = files.opened(path, f"{FIELD}.{split}")
    alone = isinstance(opened, files.Folder) and opened.chosen is not None
    for name, content in opened.contents(opened.names()).items():
        place = path if alone else f"{path.rstrip('/')}/{name}"
        text = files.decode(content, place)
        if not text.strip():
            raise UserError(f"{place}: holds no text; remove the file.")
        yield place, text


def _from_table(path: str, split: str) -> Iterator[tuple[Place, str]]:
    file, _, given = path.rpartition(":")
    column: tsv.Column = int(given) if given.isdecimal() else given
    if file.endswith(files.ARCHIVES):
        raise UserError(f"{FIELD}.{split}: {path!r} asks for a column of an archive; only a table, unpacked, has any.")
    opened = files.opened(file, f"{FIELD}.{split}")
    name = files.choose(opened, posixpath.basename(file), f"{FIELD}.{split}")
    table = tsv.read(opened, name, {split: column}, header=isinstance(column, str))
    places = [posixpath.join(posixpath.dirname(file), origin) for origin in table["origin"]]
    return zip(places, table[split], strict=True)


def _from_tfds(path: str, split: str) -> Iterator[tuple[Place, str]]:
    source = tfds.Source(path.removeprefix(TFDS))
    if split not in source.splits():
        raise UserError(f"{FIELD}.{split}: {path!r} has no split {split!r}; {nearest(split, source.splits())}")
    records = source.split(split)
    first = records[np.zeros(1, int)]
    if "text" not in first:
        raise UserError(f"{FIELD}.{split}: {path!r} has no entry 'text'; it has {', '.join(sorted(first))}.")
    for number, text in enumerate(sequences.column(records, "text")):
        place = f"{path} {split} {number}"
        yield place, files.decode(text, place)
