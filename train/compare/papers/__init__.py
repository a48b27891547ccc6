"""Tables that papers printed, one file each, with what here stands for each of their cells.

A module has `table()`. Numbers are those that were read in an official repository or in the paper's text, or in several
transcriptions that agree; a number that could not be verified is left out.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number of a table.

    Attributes:
        printed: in the paper; None if nothing was, or nothing could be verified.
        config: the config file and its argument that stand for it; None if nothing here is trained for it.
        overrides: of the config.
        metric: of the finished run, in the paper's units after multiplying by `scale`.
        count: instead of a config, fields of the architecture `count["name"]` whose parameters are meant.
    """

    printed: float | None = None
    config: str | None = None
    overrides: tuple[str, ...] = ()
    metric: str = "test/accuracy"
    scale: float = 1.0
    count: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """A table in the paper's layout.

    Attributes:
        title: what is shown, and where it was printed.
        columns: headings, with units.
        rows: by name, cells in the order of the columns; None is an empty one.
        notes: what a reader must know.
    """

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Cell | None, ...]]
    notes: tuple[str, ...] = ()
