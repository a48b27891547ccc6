"""The charts of a report: one style, colours for colour-blind eyes, names beside what they name.

A chart is drawn once, small enough that its text stays readable at the width of a phone. In the page its
colours are CSS variables, so that it follows light and dark; the files beside it are for documents, on white.
"""

import functools
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar

import numpy as np

from train.compare.labels import Look, name_ends, name_points, settle
from train.compare.numbers import show_count
from train.compare.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

# Okabe & Ito (2008), without the yellow that vanishes on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6b6b6b")
MARKERS = "osD^vPX"
FONT = "font-family: 'DejaVu Sans'"  # As Matplotlib, which brings this font along, writes it into an SVG.
INK, FAINT = "#22262b", "#d9dde2"
INCHES = (4.6, 3.1)
FEW = 16  # Sizes that have marks of their own; half as many are also written out.

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "charts",  # The same numbers draw the same file.
    "svg.fonttype": "none",  # Letters stay letters: they take the font of the page, and can be searched.
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "figure.figsize": INCHES,
    "figure.constrained_layout.use": True,
}


BARS: dict[str, Any] = {"markersize": 7, "capsize": 4, "elinewidth": 1.5}


class Curve(NamedTuple):
    """One variant along training: steps [T] and values [seeds, T]."""

    steps: np.ndarray
    values: np.ndarray


class Point(NamedTuple):
    """One variant at its cost."""

    cost: float
    value: Interval


def colour_index(position: int) -> int:
    """Which colour the variant at `position` has; more variants than colours share them, with other marks."""
    return position % len(COLOURS)


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """Colours and marks of variants; the marks shift when the colours come round again."""
    marks = [MARKERS[(i + i // len(COLOURS)) % len(MARKERS)] for i in range(len(labels))]
    return {label: Look(COLOURS[colour_index(i)], marks[i]) for i, label in enumerate(labels)}


def _in_style(draw: Callable[P, T]) -> Callable[P, T]:
    """Matplotlib reads its style when it makes a part, and again when it saves."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


@_in_style
def curves(
    lines: Mapping[str, Curve],
    look: Mapping[str, Look],
    *,
    title: str,
    percent: bool = False,
    log: bool = False,
    chance: float | None = None,
) -> "Figure":
    """The mean over seeds along training, in a band from the lowest seed to the highest.

    `chance` is what a model without knowledge of the input reaches: a broken line, by which others are read.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _chart(title, "training step", percent)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(lambda step, _: show_count(step) if step >= 10_000 else f"{step:g}")
    means = {label: line.values.mean(0) for label, line in lines.items()}
    for label, (steps, values) in lines.items():
        colour = look[label].colour
        axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.16, linewidth=0)
        axes.plot(steps, means[label], color=colour, solid_capstyle="round")
    drawn = [*means.values(), *([] if chance is None else [np.asarray([chance])])]
    if chance is not None:
        _draw_chance(axes, chance)
    if percent:
        axes.set_ylim(bottom=_floor(list(means.values())))
    if log:
        _widen(axes, "y", np.concatenate(drawn))
    axes.set_xlim(left=0)
    name_ends(figure, axes, {label: (lines[label].steps[-1], means[label][-1]) for label in lines}, look)
    return figure


@_in_style
def against_cost(
    points: Mapping[str, Point], look: Mapping[str, Look], *, title: str, xlabel: str, percent: bool = False
) -> "Figure":
    """Every variant at its cost, with the interval of its mean."""
    figure, axes = _chart(title, xlabel, percent)
    _widen(axes, "x", [point.cost for point in points.values()])
    for label, (cost, value) in points.items():
        error = np.nan_to_num(value.half_width)
        axes.errorbar(cost, value.mean, error, color=look[label].colour, marker=look[label].marker, **BARS)
    axes.margins(0.18, 0.12)
    name_points(figure, axes, {label: (point.cost, point.value.mean) for label, point in points.items()}, look)
    return figure


@_in_style
def against(
    lines: Mapping[str, Curve],
    look: Mapping[str, Look],
    *,
    title: str,
    xlabel: str,
    percent: bool = False,
    log: Literal["", "x", "y", "xy"] = "",
    chance: float | None = None,
) -> "Figure":
    """The mean over seeds against a size, each size with a mark, in a band from the lowest seed to the highest."""
    figure, axes = _chart(title, xlabel, percent)
    means = {label: line.values.mean(0) for label, line in lines.items()}
    for label, (sizes, values) in lines.items():
        colour, marker = look[label]
        axes.fill_between(sizes, values.min(0), values.max(0), color=colour, alpha=0.16, linewidth=0)
        mark = marker if len(sizes) <= FEW else ""
        axes.plot(sizes, means[label], color=colour, marker=mark, markersize=5)
    drawn = np.concatenate(list(means.values()))
    if chance is not None:
        _draw_chance(axes, chance)
        drawn = np.append(drawn, chance)
    measured = np.unique(np.concatenate([line.steps for line in lines.values()]))
    if "y" in log:
        _widen(axes, "y", drawn)
    if "x" in log:
        _widen(axes, "x", measured)
    if len(measured) <= FEW / 2:
        axes.set_xticks(measured, [show_count(size) if size >= 10_000 else f"{size:g}" for size in measured])
    name_ends(figure, axes, {label: (lines[label].steps[-1], means[label][-1]) for label in lines}, look)
    return figure


@_in_style
def heat(values: np.ndarray, names: Sequence[str], *, title: str) -> "Figure":
    """Numbers from 0 to 1 of every two of some things, [N, N]: the greater, the darker, and each written out."""
    from matplotlib.patches import Rectangle

    figure, axes = _chart(title, "", percent=False)
    places = np.arange(len(names))
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks(places, names, rotation=40, ha="right")
    axes.set_yticks(places, names)
    for row, column in np.ndindex(values.shape):
        share = float(np.clip(values[row, column], 0, 1))
        box = Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=COLOURS[0], alpha=0.7 * share, linewidth=0)
        axes.add_patch(box)
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", size=9)
    settle(figure)
    return figure


def to_png(figure: "Figure") -> bytes:
    """For documents."""
    return _saved(figure, "png", dpi=200, facecolor="white", metadata={"Software": None})


@_in_style
def tiles(
    rows: Mapping[str, Sequence[tuple[str, str]]], signs: Mapping[str, str], colours: Mapping[str, str]
) -> "Figure":
    """A row of tiles for each name, each with a text and the sign and colour of its kind; above, how many of each kind.

    Args:
        rows: by name, texts and kinds.
        signs, colours: of the kinds, in the order of the line above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = [kind for tiles in rows.values() for _, kind in tiles]
    counted = [kind for kind in signs if kind in kinds]
    widest = max(4, *map(len, rows.values()))
    figure = Figure(figsize=(4.4 + 0.72 * widest, 0.34 * (len(rows) + 2)))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlim=(0, widest), ylim=(len(rows) - 0.5, -2))
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks(range(len(rows)), list(rows))

    def tile(x: float, y: float, text: str, kind: str) -> None:
        box = {"boxstyle": "round,pad=0.25", "facecolor": f"{colours[kind]}26", "edgecolor": colours[kind]}
        axes.text(x, y, f"{signs[kind]} {text}", ha="center", va="center", bbox=box, parse_math=False)

    for place, kind in enumerate(counted):
        tile((place + 0.5) / len(counted) * (widest + 5) - 5, -1.5, f"{kinds.count(kind)} {kind}", kind)
    for row, tiles_of_row in enumerate(rows.values()):
        for place, (text, kind) in enumerate(tiles_of_row):
            tile(place + 0.5, row, text, kind)
    return figure


def to_svg(figure: "Figure") -> str:
    """As drawn, without a background."""
    return _saved(figure, "svg", transparent=True, metadata={"Date": None}).decode()


def on_white(svg: str) -> str:
    """For documents, whose background may be dark."""
    drawing = svg.replace("<defs>", '<rect width="100%" height="100%" fill="white"/>\n <defs>', 1)
    return drawing.replace(FONT, f"{FONT}, sans-serif")


def inline(svg: str, description: str) -> str:
    """For a page: in its place's width and font, in the page's colours `--ink`, `--faint`, `--c0` …"""
    opening, _, rest = svg[svg.index("<svg") :].partition(">")
    view_box = re.search(r'viewBox="[^"]*"', opening)
    assert view_box is not None
    drawing = re.sub(r"<metadata>.*?</metadata>\s*", "", rest, flags=re.DOTALL).replace(FONT, "font-family: inherit")
    variables = {INK: "--ink", FAINT: "--faint"} | {colour: f"--c{i}" for i, colour in enumerate(COLOURS)}
    for colour, variable in variables.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return f'<svg {view_box[0]} role="img" aria-label="{html.escape(description)}">{drawing}'


def _chart(title: str, xlabel: str, percent: bool) -> "tuple[Figure, Axes]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(xlabel)
    figure.suptitle(title, x=0.01, parse_math=False, ha="left", fontsize=11, fontweight="bold")
    if percent:
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.5g} %")
    return figure, axes


def _draw_chance(axes: "Axes", chance: float) -> None:
    axes.axhline(chance, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    place: Any = ("axes fraction", "data")
    axes.annotate("chance", (0, chance), (3, 3), xycoords=place, textcoords="offset points", size=9)


@_in_style
def _saved(figure: "Figure", kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def _widen(axes: "Axes", which: Literal["x", "y"], values: Sequence[float] | np.ndarray) -> None:
    """Makes an axis logarithmic if its values span some range, with ticks as dense as there is room for."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    decades = np.log10(max(values) / min(values)) if min(values) > 0 else 0.0
    if decades > 0.5:
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1, 3) if decades < 3 else (1,)))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(lambda value, _: show_count(value))


def _floor(means: Sequence[np.ndarray]) -> float:
    """Where an axis of accuracies begins: low enough to see the last values, too high to flatten them."""
    last = [mean[-1] for mean in means]
    room = max(3 * (max(last) - min(last)), 0.08)
    return max(min(mean.min() for mean in means), min(last) - room)
