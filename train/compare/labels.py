"""Names in a chart, beside what they name, in its colour, and clear of each other."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox


class Look(NamedTuple):
    """How a variant is drawn, in every chart of a report."""

    colour: str
    marker: str


def name_ends(
    figure: "Figure", axes: "Axes", ends: Mapping[str, tuple[float, float]], look: Mapping[str, Look]
) -> None:
    """Writes every name to the right of where its line ends, moved apart where they would overlap."""
    size = _name_size(ends)
    names = {label: _annotate(axes, label, end, look, size) for label, end in ends.items()}
    settle(figure)
    heights = {label: axes.transData.transform(end)[1] * 72 / figure.dpi for label, end in ends.items()}
    ascending = sorted(heights, key=lambda label: heights[label])
    distance = 1.25 * size
    lowest = axes.transAxes.transform((0, 0))[1] * 72 / figure.dpi + size / 2  # Below it stand the axis's own numbers.
    places = separate([heights[label] for label in ascending], distance)
    for i, (label, place) in enumerate(zip(ascending, places, strict=True)):
        names[label].xyann = (6, max(place, lowest + i * distance) - heights[label])


def settle(figure: "Figure") -> None:
    """Lays the chart out, once: from here on it is known where things lie, and saving is quick."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _name_size(named: Collection[str]) -> float:
    return 10.0 if len(named) <= 6 else 8.5


def _annotate(
    axes: "Axes", label: str, point: tuple[float, float], look: Mapping[str, Look], size: float
) -> "Annotation":
    """Writes a name in its variant's colour; `xyann` then says where, in points from `point`."""
    style: dict[str, Any] = {"color": look[label].colour, "weight": "bold", "size": size}
    return axes.annotate(label, point, (6, 0), textcoords="offset points", va="center", parse_math=False, **style)


def separate(places: Sequence[float], distance: float) -> list[float]:
    """Moves ascending places until neighbours are `distance` apart, each group about its middle."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _start(groups[-1], distance) < _end(groups[-2], distance) + distance:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_start(group, distance) + i * distance for group in groups for i in range(len(group))]


def _start(group: Sequence[float], distance: float) -> float:
    return sum(group) / len(group) - distance * (len(group) - 1) / 2


def _end(group: Sequence[float], distance: float) -> float:
    return _start(group, distance) + distance * (len(group) - 1)


def name_points(
    figure: "Figure", axes: "Axes", points: Mapping[str, tuple[float, float]], look: Mapping[str, Look]
) -> None:
    """Writes every name beside its mark: on the first side where it meets no other name or mark."""
    settle(figure)
    size = _name_size(points)
    marks = [axes.transData.transform(point) for point in points.values()]
    taken: list[Bbox] = []
    for label, point in points.items():
        name = _annotate(axes, label, point, look, size)
        for x, y in itertools.product((9, -9), (0, 11, -11, 22, -22, 33)):
            name.set(ha="left" if x > 0 else "right")
            name.xyann = (x, y)
            box = name.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken) and not box.count_contains(marks):
                break
        taken.append(box)
