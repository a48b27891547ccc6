"""A paper's table in its own layout: what it printed, what finished runs here measure, and what would fill the rest.

A run stands for a cell if its resolved config is that of the cell's config file, whatever its seed.
"""

import dataclasses
import importlib
import logging
import pkgutil
import re
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from rich.console import Console

import archs
from train import config as configs
from train import loop
from train import workdir as workdirs
from train.compare import numbers, papers
from train.compare.papers import Cell, PaperTable
from train.errors import UserError, nearest

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Filled:
    """A cell with what was measured here: one value a seed, in the paper's units."""

    cell: Cell
    values: tuple[float, ...]

    @property
    def ours(self) -> float | None:
        return sum(self.values) / len(self.values) if self.values else None

    def shown(self) -> str:
        """`36.37 → 35.90 (−0.47, 3 seeds)`; a dash where there is no number."""
        printed = "–" if self.cell.printed is None else _number(self.cell.printed)
        if self.ours is None:
            return f"{printed} → –"
        notes = [f"{self.ours - self.cell.printed:+.3g}"] if self.cell.printed is not None else []
        notes += [f"{len(self.values)} seeds"] if len(self.values) > 1 else []
        return f"{printed} → {_number(self.ours)}" + (f" ({', '.join(notes)})" if notes else "").replace("-", "−")


def names() -> list[str]:
    """Of the tables, as the command takes them."""
    return [module.name.replace("_", "-") for module in pkgutil.iter_modules(papers.__path__)]


def load(name: str) -> PaperTable:
    if name not in names():
        raise UserError(f"--table: {name!r} is no table; {nearest(name, names())}")
    return importlib.import_module(f"{papers.__name__}.{name.replace('-', '_')}").table()


def show(name: str, workdir: str, console: Console) -> None:
    """Prints a table, as far as the work directory has runs, and the commands that would fill it."""
    import rich.box
    from rich.table import Table
    from rich.text import Text

    table = load(name)
    found = finished(epath.Path(workdir))
    drawn = Table(box=rich.box.SIMPLE_HEAD, title=table.title, title_justify="left", caption="printed → ours")
    drawn.add_column("")
    for column in table.columns:
        drawn.add_column(column, justify="right")
    missing: list[str] = []
    for row, cells in table.rows.items():
        filled = [fill(cell, found) if cell else None for cell in cells]
        drawn.add_row(*(Text(text) for text in (row, *(one.shown() if one else "" for one in filled))))
        for column, one in zip(table.columns, filled, strict=True):
            if one and one.cell.config and not one.values:
                missing.append(f"{row}, {column}:\n  {command(one.cell, f'{name} {row} {column}', workdir)}")
    console.print(drawn)
    for line in [*table.notes, *(["", "What would fill the cells without ours:", *missing] if missing else [])]:
        console.print(line, soft_wrap=True)


def finished(workdir: epath.Path) -> dict[str, dict[int, loop.Result]]:
    """Results of all finished runs in a folder, by the digest that their config has with seed 0, and by seed."""
    found: dict[str, dict[int, loop.Result]] = {}
    for pattern in ("config.json", "*/config.json", "runs/*/config.json"):
        for file in sorted(workdir.glob(pattern)):
            if not (file.parent / "result.json").exists():
                continue  # Of a run that is not finished, or of weights for another library.
            try:
                config = configs.from_json(workdirs.read_json(file))
            except UserError as error:
                log.warning("left out: %s: %s", file.parent, error)
                continue
            if result := loop.finished(file.parent, config):
                found.setdefault(digest(config), {})[config.seed] = result
    return found


def digest(config: configs.ConfigDict) -> str:
    return configs.digest(configs.resolve(config, ["seed=0"]))


def fill(cell: Cell, found: dict[str, dict[int, loop.Result]]) -> Filled:
    """A cell with the numbers of its runs, or with a count."""
    if cell.count is not None:
        return Filled(cell, (cell.scale * parameters(**cell.count),))
    if cell.config is None:
        return Filled(cell, ())
    runs = found.get(digest(configs.load(cell.config, cell.overrides)), {})
    values = [runs[seed].metrics.get(cell.metric) for seed in sorted(runs)]
    return Filled(cell, tuple(cell.scale * value for value in values if value is not None))


def parameters(name: str, **fields: Any) -> int:
    """Of an encoder–decoder, on shapes alone."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    model = archs.build(name, **fields)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), source=tokens, target=tokens, train=False))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def command(cell: Cell, name: str, workdir: str) -> str:
    """What trains a cell's run into the work directory."""
    flags = " ".join(f"--config.{override}" for override in cell.overrides)
    folder = re.sub(r"\W+", "-", name).strip("-").lower()
    return " ".join(
        filter(None, ("./launch.sh train", f"--config={cell.config}", flags, f"--workdir={workdir}/{folder}"))
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 1 else numbers.show_count(value)
