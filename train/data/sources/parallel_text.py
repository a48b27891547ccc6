"""Two languages side by side: two files of lines for each split, line n of one translated by line n of the other."""

import dataclasses

import numpy as np

from train.data import files
from train.data.arrays import InMemory
from train.errors import UserError

FIELD = "config.data.source"


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `source` and `target`, from files such as `train.en` and `train.de`, which may end in .gz.

    Attributes:
        path: a folder or an archive, from here or from the folder that DATA_DIR names.
        source: the language that is read: what its files end in, behind the dot.
        target: the language that is written.
        train, validation, test: what the files of the splits are called, before the dot; None where there is none.
    """

    path: str
    source: str = "en"
    target: str = "de"
    train: str = "train"
    validation: str | None = "validation"
    test: str | None = "test"

    num_classes = None

    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in ("train", "validation", "test") if getattr(self, name) is not None)

    def split(self, name: str) -> InMemory:
        opened = files.opened(self.path, f"{FIELD}.path")
        languages = (self.source, self.target)
        chosen = [files.choose(opened, f"{getattr(self, name)}.{end}", f"{FIELD}.{name}") for end in languages]
        source, target = (_filled_lines(opened, file) for file in chosen)
        if len(source) != len(target):
            (shorter, lines), (longer, _) = sorted(zip(chosen, (source, target), strict=True), key=lambda f: len(f[1]))
            raise UserError(
                f"{longer}:{len(lines) + 1}: has no translation: {shorter} ends at line {len(lines)}, and {longer} at "
                f"line {max(len(source), len(target))}; give every line one."
            )
        return InMemory(
            {
                "source": np.asarray(source, object),
                "target": np.asarray(target, object),
                "origin": np.asarray([f"{chosen[0]} and {chosen[1]}:{n}" for n in range(1, len(source) + 1)], object),
            }
        )


def _filled_lines(opened: files.Files, name: str) -> list[str]:
    lines = []
    for place, line in files.lines(opened, name):
        if not line.strip():
            raise UserError(f"{place}: is empty; remove the line from both files, or fill it in.")
        lines.append(line)
    return lines
