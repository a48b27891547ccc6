"""Says how a set of runs gets on: a line per run, the time that is left, and on a terminal a moving bar."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import rich.progress
from rich.console import Console
from rich.text import Text

from train.compare.numbers import show_duration

if TYPE_CHECKING:
    from train.compare.lab import Run


class Progress:
    """Follows the runs of a lab.

    Attributes:
        console: where the lines go.
        quiet: say nothing.
        describe: what to say of the metrics of a finished run.
        title: what the runs are for, before each line; may be empty.
        after: seconds that are expected to pass after these runs, in a larger whole; None is none, or nobody knows.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        quiet: bool = False,
        describe: Callable[[Mapping[str, float]], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.console = console or Console(quiet=quiet, highlight=False)
        self.describe = describe
        self.title = ""
        self.after: float | None = None
        self.clock = clock
        self.time_left = TimeLeft([])
        self.count = self.done = 0
        self.together = 1  # Runs that are trained at this time; each is said to take its share.
        self.first: tuple[int, float] | None = None  # Step and time of the first row, compilation being over.
        self.width = 0
        self.bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(bar_width=30),
            rich.progress.TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    @contextlib.contextmanager
    def over(self, runs: Sequence["Run"]) -> Iterator[None]:
        """Shows the bar while `runs` are trained."""
        self.time_left = TimeLeft(runs)
        self.count, self.done = len(runs), 0
        self.width = max((len(run.variant) for run in runs), default=0)
        self.task = self.bar.add_task("", total=1.0, left="")
        with self.bar:
            yield
        self.bar.remove_task(self.task)

    def found(self, run: "Run") -> None:
        """A run that an earlier call has trained, to its end or until it diverged."""
        text = f"{self.describe(run.metrics)}  found, trained before" if run.result else f"found, {run.error}"
        self._line(run, Text(text, style="" if run.result else "red"))

    @contextlib.contextmanager
    def training(self, run: "Run", *others: "Run") -> Iterator["Follow"]:
        """Follows a run, and others that are trained together with it, by the writer that it yields."""
        self.run, self.begun, self.first = run, self.clock(), None
        self.together = 1 + len(others)
        self._show(0)
        yield Follow(self.follow)
        for each in (run, *others):
            self.time_left.ended(each, (self.clock() - self.begun) / self.together)

    def follow(self, step: int) -> None:
        """Hears that the run being trained has got to a step; its pace counts from the first one heard of."""
        now = self.clock()
        first_step, first_time = self.first = self.first or (step, now)
        if step > first_step:
            pace = (now - first_time) / (step - first_step) / self.together
            self.time_left.expect(self.run, pace * self.run.config.steps)
        self._show(step)

    def _show(self, step: int) -> None:
        fraction = min(1.0, step / self.run.config.steps)
        left = self.time_left.seconds(self.run, fraction)
        self.bar.update(
            self.task,
            completed=(self.done + fraction) / self.count,
            description=f"{self._titled()}{self.done + 1}/{self.count}  {self.run.variant}, seed {self.run.seed}",
            left=self._left(left),
        )

    def ended(self, run: "Run") -> None:
        """A run that finished or failed just now."""
        seconds = show_duration((self.clock() - self.begun) / self.together)
        if run.result is None:
            self._line(run, Text(f"failed after {seconds}: {run.error}", style="red"))
            return
        then = self._left(self.time_left.seconds())
        self._line(run, Text(f"{self.describe(run.metrics)}  {seconds:>10}  {then}".rstrip()))

    def _titled(self) -> str:
        return f"{self.title}  " if self.title else ""

    def _left(self, seconds: float | None) -> str:
        """The time that is left of these runs, and of the whole that they belong to."""
        if not seconds:
            return ""
        whole = f", {show_duration(seconds + self.after)} of all" if self.after else ""
        return f"{show_duration(seconds)} left{whole}"

    def _line(self, run: "Run", text: Text) -> None:
        self.done += 1
        counter = f"{self.done:>{len(str(self.count))}}/{self.count}"
        who = Text(f"{self._titled()}{counter}  {run.variant:<{self.width}}  seed {run.seed}  ")
        self.console.print(who.append(text), soft_wrap=True)


class Follow:
    """A writer that only watches how far a run has got."""

    def __init__(self, follow: Callable[[int], None]):
        self.follow = follow

    def write(self, row: Mapping[str, Any]) -> None:
        self.follow(row["step"])

    def close(self) -> None:
        pass


class TimeLeft:
    """Expects of a run what the last of its variant took, compilation apart; of a new variant the mean."""

    def __init__(self, runs: Sequence["Run"]):
        self.waiting = [run for run in runs if run.result is None]
        self.expected = {run.variant: run.result.wall_time for run in runs if run.result}

    def expect(self, run: "Run", seconds: float) -> None:
        """Notes the pace of a run, as the seconds that a whole one takes."""
        self.expected[run.variant] = seconds

    def ended(self, run: "Run", seconds: float) -> None:
        """Notes that a run has ended after so many seconds."""
        self.waiting.remove(run)
        self.expected.setdefault(run.variant, seconds)

    def seconds(self, run: "Run | None" = None, fraction: float = 0.0) -> float | None:
        """What all waiting runs will take, `run` being done to a fraction; None while nobody can know."""
        if not self.expected:
            return None
        typical = sum(self.expected.values()) / len(self.expected)
        whole = sum(self.expected.get(waiting.variant, typical) for waiting in self.waiting)
        return whole - fraction * self.expected.get(run.variant, typical) if run else whole
