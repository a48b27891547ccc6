"""What all reports are made with: templates, charts beside a document, and lines of JSON."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from etils import epath

from train.compare import numbers, plots

if TYPE_CHECKING:
    from jinja2 import Environment

    from train.compare.report import Chart


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers that a report shows beside what it measures."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def environment() -> "Environment":
    """Fills the templates of this package; what comes from outside is escaped in HTML."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("train.compare"),
        autoescape=jinja2.select_autoescape(["html.jinja2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "short": numbers.show_count,
        "time": numbers.show_time,
        "duration": numbers.show_duration,
        "p": numbers.show_p,
        "metric_name": numbers.metric_name,
        "cell": lambda text: str(text).replace("|", "\\|").replace("\n", " "),
        "inline_svg": lambda chart: plots.inline(chart.svg, f"{chart.title}. {chart.caption}"),
    }
    made.globals["palette"] = plots.COLOURS
    return made


def write_charts(charts: Iterable["Chart"], folder: epath.Path) -> None:
    """Each as a PNG and an SVG, for documents."""
    folder.mkdir(parents=True, exist_ok=True)
    for chart in charts:
        (folder / f"{chart.name}.png").write_bytes(plots.to_png(chart.figure))
        (folder / f"{chart.name}.svg").write_bytes(plots.on_white(chart.svg).encode())


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """One line for each row."""
    lines = (json.dumps(finite(row), sort_keys=True, allow_nan=False, ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def finite(value: Any) -> Any:
    """JSON knows no nan and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
