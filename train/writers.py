"""Where numbers go while a run lasts: the console, `metrics.jsonl`, TensorBoard, Weights & Biases."""

import contextlib
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from etils import epath

from train.errors import UserError

Row = Mapping[str, Any]  # "step", and numbers by name; evaluations are named split/metric, training train/metric.


class Writer(Protocol):
    def write(self, row: Row) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """`metrics.jsonl`: one row a line, exactly the rows of an uninterrupted run.

    The file is replaced as a whole, so it never ends in half a line; rows after the step that a run resumes from are
    dropped, since they are written again.
    """

    def __init__(self, folder: epath.Path, resumed_from: int):
        self._file = folder / "metrics.jsonl"
        self._rows = [row for row in read_rows(folder) if row["step"] <= resumed_from]
        self._flushed = 0.0
        self.flush()

    def write(self, row: Row) -> None:
        self._rows.append(dict(row))
        if time.monotonic() - self._flushed > 5.0:
            self.flush()

    def flush(self) -> None:
        new = self._file.parent / f"{self._file.name}.new"
        new.write_text("".join(f"{json.dumps(row)}\n" for row in self._rows))
        new.replace(self._file)
        self._flushed = time.monotonic()

    def close(self) -> None:
        self.flush()


def read_rows(folder: epath.Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`; none if it has not begun."""
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Console:
    """One line for every row, with speed and the time that is left."""

    def __init__(self, steps: int):
        self._steps = steps

    def write(self, row: Row) -> None:
        numbers = {key.removeprefix("train/"): value for key, value in row.items() if key != "step"}
        step_time, rate = numbers.pop("step_time", None), numbers.pop("examples_per_second", None)
        parts = [f"step {row['step']:>{len(str(self._steps))}}/{self._steps}"]
        parts += [f"{name} {value:.4g}" for name, value in numbers.items()]
        if step_time is not None and rate is not None:
            left = (self._steps - row["step"]) * step_time
            parts += [f"{rate:,.0f} examples/s", f"{1e3 * step_time:.3g} ms/step", f"ETA {duration(left)}"]
        self._print("  ".join(parts))

    def close(self) -> None:
        pass

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:  # Who read along has gone (`… | head`); training goes on.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class TensorBoard:
    """Scalars for TensorBoard, through tensorboardX, which needs no TensorFlow."""

    def __init__(self, folder: epath.Path, resumed_from: int):
        import tensorboardX

        self._writer = tensorboardX.SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_from + 1)

    def write(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()


class WandB:
    """Weights & Biases; its own environment variables choose project and mode."""

    def __init__(self, folder: epath.Path, config: Mapping[str, Any]):
        import wandb

        # One folder is one run, however often it is resumed.
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        self._run = wandb.init(config=dict(config), dir=str(folder), name=folder.name, id=name, resume="allow")

    def write(self, row: Row) -> None:
        self._run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def close(self) -> None:
        self._run.finish()


PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


def check(names: Sequence[str]) -> None:
    """Raises UserError for a writer whose package is not installed."""
    for name in names:
        try:
            importlib.import_module(PACKAGES[name])
        except ImportError as error:
            raise UserError(f"config.writers: {name} is not installed; pip install -e '.[{name}]'") from error


def build(name: str, folder: epath.Path, resumed_from: int, config: Mapping[str, Any]) -> Writer:
    """The writer `name`, which `check` has found to be installed."""
    return TensorBoard(folder, resumed_from) if name == "tensorboard" else WandB(folder, config)


class Writers:
    """Several writers as one; a context manager that closes them."""

    def __init__(self, writers: Sequence[Writer]):
        self._writers = list(writers)

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.ExitStack() as stack:  # Closes all, even if one cannot.
            for writer in self._writers:
                stack.callback(writer.close)

    def write(self, row: Row) -> None:
        for writer in self._writers:
            writer.write(row)

    def flush(self) -> None:
        for writer in self._writers:
            if isinstance(writer, JsonLines):
                writer.flush()


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
