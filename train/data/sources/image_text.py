"""Pictures and texts that belong together, by a table that names both."""

import dataclasses
import functools
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from train.data import files, pictures
from train.data.decoded import Decoded, content_of
from train.data.labelled_files import FIELD, SPLITS, check_fractions, check_labels, label_numbers, random_parts
from train.errors import UserError, nearest

log = logging.getLogger(__name__)

COLUMN = re.compile(r"\{([^{}]+)\}")  # In a template.


@dataclasses.dataclass(frozen=True)
class Pair:
    """A picture's file, its text, the value of its label, and where the table has it."""

    picture: str
    text: str
    label: str
    origin: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `image`, bytes [X, Y, C]; `text`; `origin`, the place in the table; and, if asked for, `label`.

    The table is a .tsv file, whose first line names its columns, or a .json file: a list of objects, whose keys are the
    columns. `file` and `text` are templates, in which {column} stands for a value of the pair; a list of values is
    joined by ", ". All pairs of one picture are in the same split.

    Attributes:
        images: a folder or an archive, from here or from the folder that DATA_DIR names.
        table: a file in it, or else from here or from DATA_DIR.
        file: the path of a pair's picture in `images`, such as "{name}.png".
        text: what the text is, such as "a photo of {title}".
        label: the column of the class; None if there is none.
        labels: values of that column, in the order of their numbers; empty takes those of the training split, sorted.
        class_names: what the classes are called, in the same order; empty takes their values.
        ignore: a regular expression; what it matches is left out of the paths of the table and of those of files before
            they are compared.
        ignore_case: whether paths are compared in lower case, which they then are in when `ignore` is applied.
        skip_incomplete: whether pairs that lack a picture or a value are left out, and their number logged, instead of
            refused.
        fractions: of the pictures that are train, validation and test, at random but always the same; None is
            (0.8, 0.1, 0.1).
        image_size: what the shorter side of each picture is scaled to; of the longer, the middle is kept. None leaves
            pictures as they are, and they must all be of one size.
        mode: "RGB", or "L" for gray. Transparent pictures are laid on white.
    """

    images: str
    table: str
    file: str
    text: str
    label: str | None = None
    labels: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    ignore: str = ""
    ignore_case: bool = False
    skip_incomplete: bool = False
    fractions: tuple[float, float, float] | None = None
    image_size: int | None = None
    mode: pictures.Mode = "RGB"

    def __post_init__(self) -> None:
        check_fractions(self.fractions)
        pictures.check_image_size(self.image_size)
        for field in ("file", "text"):
            if not _columns_of(getattr(self, field)):
                raise UserError(f"{FIELD}.{field}: {getattr(self, field)!r} names no {{column}} of the table.")
        for field in ("labels", "class_names"):
            if getattr(self, field) and self.label is None:
                raise UserError(f"{FIELD}.{field}: does nothing without {FIELD}.label.")
        check_labels(self.labels)
        try:
            re.compile(self.ignore)
        except re.error as error:
            raise UserError(f"{FIELD}.ignore: {self.ignore!r} is no regular expression: {error}.") from error

    @property
    def num_classes(self) -> int | None:
        return None if self.label is None else len(self.classes)

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """What the classes are called, in the order of their numbers."""
        if self.class_names and len(self.class_names) != len(self._values):
            raise UserError(
                f"{FIELD}.class_names: has {len(self.class_names)} names for {len(self._values)} classes: "
                f"{', '.join(self._values)}."
            )
        return self.class_names or self._values

    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def split(self, name: str) -> Decoded:
        pairs = self._splits[name]
        columns = {field: [getattr(pair, field) for pair in pairs] for field in ("picture", "text", "origin", "label")}
        arrays = {field: np.asarray(columns[field], object) for field in ("picture", "text", "origin")}
        if self.label is not None:
            arrays["label"] = label_numbers(columns["label"], columns["origin"], self._values)
        names, first = arrays.pop("picture"), self._splits["train"][0].picture
        content = content_of(files.opened(self.images, f"{FIELD}.images"), {first, *names})
        if self.image_size is None:
            pictures.check_sizes([first, *names], content)
        return Decoded(names, arrays, content, self._decode)

    def _decode(self, content: bytes, name: str) -> dict[str, np.ndarray]:
        return {"image": pictures.decode(content, name, self.mode, self.image_size)}

    @functools.cached_property
    def _values(self) -> tuple[str, ...]:
        """Values of the label, in the order of their numbers."""
        return self.labels or tuple(sorted({pair.label for pair in self._splits["train"]}))

    @functools.cached_property
    def _splits(self) -> Mapping[str, list[Pair]]:
        pairs = list(self._pairs())
        found = sorted({pair.picture for pair in pairs})
        parts = random_parts(len(found), self.fractions)
        split_of = {found[place]: split for split, part in parts.items() for place in part}
        return {
            split: [pair for pair in pairs if split_of[pair.picture] == split] for split in SPLITS if split in parts
        }

    def _pairs(self) -> Iterator[Pair]:
        """All pairs that have everything.

        Raises:
            UserError: another pair is there, and it is not said to skip such; or nothing is left.
        """
        rows = list(self._rows())
        self._check_columns(rows)
        known = self._known_pictures()
        lacking: Counter[str] = Counter()
        for origin, row in rows:
            missing = [repr(column) for column in self._columns() if not row.get(column)]
            picture = None if missing else known.get(self._same(_filled(self.file, row)))
            if picture is not None:
                yield Pair(picture, _filled(self.text, row), row[self.label] if self.label else "", origin)
            elif self.skip_incomplete:
                lacking[missing[0] if missing else "picture"] += 1
            else:
                what = missing[0] if missing else f"picture {_filled(self.file, row)!r} in {self.images}"
                raise UserError(
                    f"{origin}: has no {what}; complete it, or set {FIELD}.skip_incomplete=True to leave "
                    "such pairs out."
                )
        if lacking:
            counts = ", ".join(f"{count} have no {what}" for what, count in lacking.items())
            log.warning("%s: %d of %d pairs are left out: %s", self.table, lacking.total(), len(rows), counts)
        if lacking.total() == len(rows):
            raise UserError(f"{FIELD}.table: {self.table} has no pair with all that is asked for.")

    def _columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        read = [*_columns_of(self.file), *_columns_of(self.text)]
        return tuple(dict.fromkeys([*read, self.label] if self.label else read))

    def _check_columns(self, rows: list[tuple[str, dict[str, str]]]) -> None:
        if not rows:
            raise UserError(f"{FIELD}.table: {self.table} has no row.")
        known = {column for _, row in rows for column in row}
        for column in self._columns():
            if column not in known:
                raise UserError(f"{FIELD}: {self.table} has no column {column!r}; {nearest(column, known)}")

    def _known_pictures(self) -> dict[str, str]:
        """The files of `images`, by what their paths are compared by."""
        known: dict[str, str] = {}
        for name in files.opened(self.images, f"{FIELD}.images").names():
            other = known.setdefault(self._same(name), name)
            if other != name:
                raise UserError(f"{FIELD}.ignore: {other} and {name} are the same picture without it; change it.")
        return known

    def _same(self, name: str) -> str:
        return re.sub(self.ignore, "", name.lower() if self.ignore_case else name)

    def _rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The table: where each row stands, and its values that are text, or can be written as text, by column."""
        opened, name = self._table_file()
        if name.removesuffix(".gz").endswith(".tsv"):
            yield from _tsv_rows(list(files.lines(opened, name)))
        elif name.removesuffix(".gz").endswith(".json"):
            yield from _json_rows(files.decode(opened.contents([name])[name], name), name)
        else:
            raise UserError(f"{FIELD}.table: {name} is no .tsv and no .json file.")

    def _table_file(self) -> tuple[files.Files, str]:
        images = files.opened(self.images, f"{FIELD}.images")
        if self.table in images.names():
            return images, self.table
        table = files.opened(self.table, f"{FIELD}.table")
        if len(table.names()) != 1:
            raise UserError(f"{FIELD}.table: {self.table} is no file.")
        return table, table.names()[0]


def _columns_of(template: str) -> list[str]:
    """The columns that a template names."""
    return [match[1] for match in COLUMN.finditer(template)]


def _filled(template: str, row: Mapping[str, str]) -> str:
    return COLUMN.sub(lambda match: row[match[1]], template)


def _tsv_rows(lines: list[tuple[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    columns = lines[0][1].split("\t") if lines else []
    for origin, line in lines[1:]:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise UserError(f"{origin}: has {len(cells)} columns, and the first line has {len(columns)}.")
        yield origin, dict(zip(columns, cells, strict=True))


def _json_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{name}:{error.lineno}: is no JSON: {error.msg}.") from error
    except RecursionError as error:
        raise UserError(f"{name}: is nested too deeply to be read.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{name}: is no list of objects.")
    for number, entry in enumerate(entries):
        values = {column: _as_text(value) for column, value in entry.items()}
        yield f"{name}: entry {number}", {column: value for column, value in values.items() if value is not None}


def _as_text(value: Any) -> str | None:
    """A value of JSON as text; None for those that are none: null and objects."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return str(value) if isinstance(value, str | int | float) else None
