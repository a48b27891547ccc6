"""How metrics, counts and times are written, and which way a metric is good."""

import math
from collections.abc import Mapping

from train.compare.statistics import Interval


def higher_is_better(metric: str) -> bool:
    return not metric.endswith(("loss", "perplexity", "error", "bits_per_byte"))


def is_percent(metric: str) -> bool:
    return "accuracy" in metric


def metric_name(metric: str) -> str:
    """`test/accuracy` in words."""
    return metric.replace("/", " ").replace("_", " ")


def file_name(metric: str) -> str:
    return metric.replace("/", "-").replace("_", "-")


def show_value(metric: str, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.2f} %" if is_percent(metric) else f"{value:.4g}"


def show_interval(metric: str, interval: Interval) -> str:
    """`98.33 ± 0.41 %`; a dash where there are too few seeds for an interval."""
    return _show(metric, interval, "")


def show_difference(metric: str, interval: Interval) -> str:
    """`+1.67 ± 0.80 points` for percentages."""
    return _show(metric, interval, "+").replace("%", "points")


def _show(metric: str, interval: Interval, sign: str) -> str:
    if not math.isfinite(interval.mean):
        return "–"
    scale, digits, unit = (100, 2, " %") if is_percent(metric) else (1, _digits(interval), "")
    width = f"{scale * interval.half_width:.{digits}f}" if math.isfinite(interval.half_width) else "–"
    return f"{scale * interval.mean:{sign}.{digits}f} ± {width}{unit}".replace("-", "−")


def _digits(interval: Interval) -> int:
    """As many decimals as show two digits of the interval, or four of the mean where there is none."""
    if math.isfinite(interval.half_width) and interval.half_width > 0:
        return max(0, 1 - math.floor(math.log10(interval.half_width)))
    return max(0, 3 - math.floor(math.log10(abs(interval.mean) or 1)))


def show_p(p: float) -> str:
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def show_count(value: float) -> str:
    """Three digits and a prefix: `61.7 k`, `1.2 M`, `0.05`."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"


def show_time(seconds: float) -> str:
    """Three digits: `850 µs`, `3.21 ms`, `1.2 s`."""
    if not math.isfinite(seconds):
        return "–"
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def show_energy(joules: Mapping[str, float]) -> str:
    """`CPU 1.2 kJ, GPU 30 kJ`; of what has a meter."""
    shown = {kind.upper(): show_count(value) if value >= 999.5 else f"{value:.3g} " for kind, value in joules.items()}
    return ", ".join(f"{kind} {count}J" for kind, count in shown.items()) or "unavailable: no meter"


def show_duration(seconds: float) -> str:
    """`9.3 s`, `2 min 40 s`, `3 h 05 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
