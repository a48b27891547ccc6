"""Files whose paths tell their label and split: what folders of images and of sound have in common."""

import dataclasses
import functools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from train.data import files
from train.errors import UserError, nearest

log = logging.getLogger(__name__)

FIELD = "config.data.source"
SPLITS = ("train", "validation", "test")
FRACTIONS = (0.8, 0.1, 0.1)
SPLIT_SEED = 0  # Which split an example is in never depends on the seed of a run.


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledFiles:
    """Fields of sources of files.

    Attributes:
        path: a folder or an archive, from here or from the folder that DATA_DIR names. Files in it that have another
            ending are left out, and their number is logged; hidden ones, in whose path a name begins with a dot, are no
            data.
        pattern: a regular expression that is searched for in the path of each file, within the folder or archive. Its
            group `label` is the file's label; `split_by` may name other groups. The default takes the name of the
            folder that a file is in.
        labels: names of the classes, in the order of their numbers; empty takes those of the training split, sorted.
        split_by: what tells the split of a file: "random", always the same; "folder", one of those that it is in, which
            is named train, validation or test; or the name of a group of `pattern`.
        fractions: of the files that are train, validation and test, if "random"; None is (0.8, 0.1, 0.1).
        validation: values of the group whose files are validation.
        test: values of the group whose files are test; all others are train.
    """

    path: str
    pattern: str = r"(?P<label>[^/]+)/[^/]+$"
    labels: tuple[str, ...] = ()
    split_by: str = "random"
    fractions: tuple[float, float, float] | None = None
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    endings: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groupindex
        except re.error as error:
            raise UserError(f"{FIELD}.pattern: {self.pattern!r} is no regular expression: {error}.") from error
        if "label" not in groups:
            raise UserError(f"{FIELD}.pattern: {self.pattern!r} has no group (?P<label>...).")
        if self.split_by not in ("random", "folder", *groups):
            known = nearest(self.split_by, ("random", "folder", *groups))
            raise UserError(f"{FIELD}.split_by: {self.split_by!r} is no group of the pattern; {known}")
        is_group = self.split_by not in ("random", "folder")
        for field in ("validation", "test"):
            if getattr(self, field) and not is_group:
                raise UserError(f"{FIELD}.{field}: does nothing unless split_by names a group of the pattern.")
        if is_group and not self.validation + self.test:
            raise UserError(f"{FIELD}.test: is missing; which values of {self.split_by!r} are test?")
        if self.fractions is not None and self.split_by != "random":
            raise UserError(f"{FIELD}.fractions: does nothing unless split_by is 'random'.")
        check_fractions(self.fractions)
        check_labels(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return self.labels or tuple(sorted({self._label(name) for name in self._splits["train"]}))

    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def labelled(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """The files of a split, and the number of the label of each."""
        names = self._splits[split]
        return np.asarray(names, object), label_numbers([self._label(name) for name in names], names, self.classes)

    @functools.cached_property
    def _splits(self) -> Mapping[str, list[str]]:
        """The files of each split."""
        names = self._names()
        for name in names:
            self._label(name)
        if self.split_by == "random":
            return {split: [names[i] for i in part] for split, part in random_parts(len(names), self.fractions).items()}
        told = [self._folder(name) if self.split_by == "folder" else self._group(name) for name in names]
        splits = {
            split: [n for n, told_split in zip(names, told, strict=True) if told_split == split] for split in SPLITS
        }
        self._check_values(names)
        if not splits["train"]:
            raise UserError(f"{FIELD}.split_by: {self.split_by!r} leaves no file of {self.path} for the split 'train'.")
        return {split: part for split, part in splits.items() if part}

    def _names(self) -> list[str]:
        opened = files.opened(self.path, f"{FIELD}.path")
        visible = [name for name in opened.names() if not any(part.startswith(".") for part in name.split("/"))]
        names = [name for name in visible if name.lower().endswith(self.endings)]
        if not names:
            raise UserError(f"{FIELD}.path: {opened.place} holds no file that ends in {', '.join(self.endings)}.")
        if len(names) < len(visible):
            log.warning("%s: %d files with other endings are left out", self.path, len(visible) - len(names))
        return names

    def _match(self, name: str) -> re.Match[str]:
        match = re.search(self.pattern, name)
        if match is None:
            raise UserError(f"{name}: {FIELD}.pattern, {self.pattern!r}, is not found in this path.")
        return match

    def _label(self, name: str) -> str:
        label = self._match(name)["label"]
        if not label:
            raise UserError(f"{name}: {FIELD}.pattern, {self.pattern!r}, finds no label in this path.")
        return label

    def _folder(self, name: str) -> str:
        found = [part for part in PurePosixPath(name).parts[:-1] if part in SPLITS]
        if len(found) != 1:
            raise UserError(
                f"{name}: lies in {len(found)} folders named {', '.join(SPLITS)}; it must be one, "
                f"or {FIELD}.split_by something else than 'folder'."
            )
        return found[0]

    def _group(self, name: str) -> str:
        value = self._match(name)[self.split_by]
        return "test" if value in self.test else "validation" if value in self.validation else "train"

    def _check_values(self, names: list[str]) -> None:
        """Refuses values of the group that no file has, or that stand for two splits."""
        for field in ("validation", "test"):
            known = {self._match(name)[self.split_by] or "" for name in names} if getattr(self, field) else set()
            for value in getattr(self, field):
                if value not in known:
                    raise UserError(f"{FIELD}.{field}: no file has {self.split_by} {value!r}; {nearest(value, known)}")
        if both := set(self.validation) & set(self.test):
            raise UserError(f"{FIELD}.test: {', '.join(sorted(both))} is in validation, too.")


def check_labels(labels: Sequence[str]) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{FIELD}.labels: names {label!r} twice.")


def check_fractions(fractions: tuple[float, float, float] | None) -> None:
    if fractions is not None and (min(fractions) < 0 or fractions[0] == 0 or not math.isclose(sum(fractions), 1)):
        raise UserError(f"{FIELD}.fractions: {fractions} must be parts of train, validation and test that sum to 1.")


def random_parts(count: int, fractions: tuple[float, float, float] | None) -> dict[str, np.ndarray]:
    """The indices of each split, in order, at random but always the same; none of those whose fraction is 0.

    Raises:
        UserError: a split gets no example.
    """
    fractions = fractions or FRACTIONS
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    cuts = np.round(np.cumsum(fractions)[:2] * count).astype(int)
    parts = {split: np.sort(part) for split, part in zip(SPLITS, np.split(order, cuts), strict=True)}
    for split, fraction in zip(SPLITS, fractions, strict=True):
        if fraction > 0 and not len(parts[split]):
            raise UserError(f"{FIELD}.fractions: {fractions} of {count} examples leave none for the split {split!r}.")
    return {split: parts[split] for split, fraction in zip(SPLITS, fractions, strict=True) if fraction > 0}


def label_numbers(labels: list[str], origins: list[str], classes: tuple[str, ...]) -> np.ndarray:
    """The number of each label among the classes.

    Raises:
        UserError: a label is none of them; where it comes from is named.
    """
    numbers = {label: number for number, label in enumerate(classes)}
    for label, origin in zip(labels, origins, strict=True):
        if label not in numbers:
            raise UserError(
                f"{origin}: label {label!r} is not in the training split, or not in {FIELD}.labels; "
                f"{nearest(label, numbers)}"
            )
    return np.asarray([numbers[label] for label in labels], np.int32)
