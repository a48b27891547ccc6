"""Equal budgets: each variant's free width is sized until all cost the same.

Parameters and operations are counted, without any training. The time of a training step is measured on the hardware at
hand, which is noisy: what was chosen is kept, so that the same command finds its runs again.
"""

import dataclasses
import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import jax
from etils import epath
from ml_collections import ConfigDict

from train import config as configs
from train import workdir as workdirs
from train.compare import lab, numbers, timing
from train.errors import UserError

Budget = Literal["parameters", "flops", "time"]
BUDGETS: tuple[str, ...] = get_args(Budget)
KEYS: dict[str, str] = {"parameters": "parameters", "flops": "flops_forward"}
TOLERANCE = 0.02
NOISIEST = 0.1  # Times that are known no better than this match nothing.
TRIALS = 6  # Each compiles a step.
FREE_WIDTHS = ("mlp_size", "hidden_size", "hidden_sizes")  # Of these, the first that a model has and gives.
WIDEST = 1 << 20


Timer = Callable[[ConfigDict, ConfigDict], timing.Ratio]


@dataclasses.dataclass(frozen=True)
class Matched:
    """A variant after matching.

    Attributes:
        config: the resolved config.
        field: the free width, such as `model.hidden_size`; None for the reference, which stays as it is.
        width: what it is now; widths of several layers keep their proportions.
        cost: parameters, FLOPs or seconds, now.
        deviation: from the reference, as a fraction.
        noise: how well that is known, as a fraction; 0 where it was counted.
    """

    config: ConfigDict
    field: str | None
    width: int | tuple[int, ...] | None
    cost: float
    deviation: float
    noise: float = 0.0

    def shown_deviation(self) -> str:
        return f"{self.deviation:+.1%}" + (f" ± {self.noise:.1%}" if self.noise else "")


def match(
    variants: Mapping[str, ConfigDict],
    by: Budget,
    *,
    reference: str | None = None,
    widths: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
    memory: epath.Path | None = None,
    timer: Timer = timing.ratio,
) -> dict[str, Matched]:
    """Sizes every variant so that it costs what the reference costs.

    Args:
        variants: resolved configs by label.
        by: learned numbers, operations of the forward pass of one example, or the time of a training step.
        reference: the label whose size stays; None is the first.
        widths: label to the field that is free, instead of the first of `FREE_WIDTHS` that the model has.
        tolerance: how far apart, as a fraction, costs may end; times also as far as they are noisy.
        memory: a folder that keeps what was chosen by time.
        timer: measures a config beside the reference.

    Raises:
        UserError: a variant has no free width, or none that comes close enough.
    """
    names = list(variants)
    reference = reference or names[0]
    if reference not in variants:
        raise UserError(f"match: the reference {reference!r} is no variant; there are {', '.join(names)}.")
    if by == "time":
        return _matched_by_time(variants, reference, widths or {}, tolerance, memory, timer)
    target = cost(variants[reference], by)
    found = {reference: Matched(variants[reference], None, None, target, 0.0)}
    for label, config in variants.items():
        if label != reference:
            field = (widths or {}).get(label) or free_width(label, config)
            found[label] = _matched(label, config, field, by, target, tolerance)
    return {label: found[label] for label in names}


def describe(matched: Mapping[str, Matched], by: str | None) -> str:
    """What matching chose, in a sentence; empty if nothing was matched."""
    reference = [label for label, one in matched.items() if one.field is None]
    chosen = [
        f"{label} {one.field}={one.width} ({one.shown_deviation()})" for label, one in matched.items() if one.field
    ]
    what = "time of a training step, that" if by == "time" else f"{by}, those"
    return f"Equal {what} of {reference[0]}: {', '.join(chosen)}." if chosen else ""


def cost(config: ConfigDict, by: Budget) -> int:
    return lab.measure(config)[KEYS[by]]


def free_width(label: str, config: ConfigDict) -> str:
    """The field of a variant's model that says how wide it is, and that no paper or architecture fixes."""
    for name in FREE_WIDTHS:
        if config.model.get(name):
            return f"model.{name}"
    raise UserError(f"match: {label!r} has none of the fields {', '.join(FREE_WIDTHS)}; name its free width.")


def resized(config: ConfigDict, field: str, width: int) -> ConfigDict:
    """The config with another width; of several layers, the first gets it and the others follow in proportion."""
    now = _width(config, field)
    if isinstance(now, tuple):
        value = str(tuple(max(1, round(size * width / now[0])) for size in now))
    else:
        value = str(width)
    return configs.resolve(config, [f"{field}={value}"])


def _matched(label: str, config: ConfigDict, field: str, by: Budget, target: int, tolerance: float) -> Matched:
    step = _step(config, field)

    @functools.cache  # The search asks for the same width more than once.
    def cost_at(steps: int) -> int:
        return cost(resized(config, field, steps * step), by)

    now = _width(config, field)
    start = (now[0] if isinstance(now, tuple) else now) // step
    best = nearest(cost_at, target, WIDEST // step, max(1, start))
    chosen = resized(config, field, best * step)
    spent = cost(chosen, by)
    deviation = spent / target - 1
    if abs(deviation) > tolerance:
        raise UserError(
            f"match: {label!r} comes no closer to {target:,} {by} than {spent:,} ({100 * deviation:+.1f} %), at "
            f"{field}={_width(chosen, field)}; within {100 * tolerance:g} % is wanted. Choose a larger reference, or "
            "another free width."
        )
    return Matched(chosen, field, _width(chosen, field), spent, deviation)


def nearest(cost_at: Callable[[int], int], target: int, most: int, start: int = 1) -> int:
    """The argument from 1 to `most` at which a growing function comes nearest to `target`, sought from `start`."""
    low = high = min(start, most)
    stride = 1
    while high < most and cost_at(high) < target:
        low, high, stride = high, min(most, high + stride), 2 * stride
    while low == high > 1 or (low > 1 and cost_at(low) >= target):
        low, high, stride = max(1, low - stride), low, 2 * stride
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost_at(middle) < target else (low, middle)
    return min((low, high), key=lambda argument: abs(cost_at(argument) - target))


def _step(config: ConfigDict, field: str) -> int:
    """Widths of attention must be divisible by the heads."""
    heads = config.model.get("num_heads")
    return heads if heads and field == "model.hidden_size" else 1


def _width(config: ConfigDict, field: str) -> int | tuple[int, ...]:
    section, _, name = field.rpartition(".")
    value = config[section].get(name) if section in config else None
    if not value:
        raise UserError(f"match: config.{field} is {value!r}; the free width must be a number that the config gives.")
    return value


# By time.


def _matched_by_time(
    variants: Mapping[str, ConfigDict],
    reference: str,
    widths: Mapping[str, str],
    tolerance: float,
    memory: epath.Path | None,
    timer: Timer,
) -> dict[str, Matched]:
    if jax.process_count() > 1:
        raise UserError("match: processes would measure different times; match by time in one process.")
    found: dict[str, Matched] = {}
    seconds = float("nan")
    for label, config in variants.items():
        if label == reference:
            continue
        field = widths.get(label) or free_width(label, config)
        file = _file(memory, config, variants[reference], field) if memory else None
        width, measured = _kept(file) or _width_by_time(config, variants[reference], field, timer, tolerance)
        _check_time(label, field, width, measured, tolerance)
        if file:
            _keep(file, width, measured)
        sized, seconds = resized(config, field, width), measured.reference_seconds
        found[label] = Matched(sized, field, _width(sized, field), measured.seconds, measured.value - 1, measured.noise)
    found[reference] = Matched(variants[reference], None, None, seconds, 0.0)
    return {label: found[label] for label in variants}


def _file(memory: epath.Path, config: ConfigDict, reference: ConfigDict, field: str) -> epath.Path:
    """Where the width is kept that was chosen on such a device."""
    device = re.sub(r"\W+", "-", f"{jax.device_count()} {jax.devices()[0].device_kind}")
    return memory / f"{configs.digest(config)}-{configs.digest(reference)}-{field}-{device}.json"


def _kept(file: epath.Path | None) -> tuple[int, timing.Ratio] | None:
    if file is None or not file.exists():
        return None
    kept = json.loads(file.read_text())
    return kept["width"], timing.Ratio(**kept["measured"])


def _keep(file: epath.Path, width: int, measured: timing.Ratio) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    workdirs.write_json(file, {"width": width, "measured": dataclasses.asdict(measured)})


def _width_by_time(
    config: ConfigDict, reference: ConfigDict, field: str, timer: Timer, tolerance: float
) -> tuple[int, timing.Ratio]:
    """The width, of a few that are tried, whose step comes nearest to the reference's; it begins at equal FLOPs."""
    step = _step(config, field)
    target = cost(reference, "flops")
    steps = nearest(lambda steps: cost(resized(config, field, steps * step), "flops"), target, WIDEST // step)
    tried: dict[int, timing.Ratio] = {}
    while steps not in tried and len(tried) < TRIALS:
        tried[steps] = timer(resized(config, field, steps * step), reference)
        if abs(tried[steps].value - 1) <= tolerance:
            break
        steps = next_width({width: measured.value for width, measured in tried.items()})
    best = min(tried, key=lambda steps: abs(tried[steps].value - 1))
    return best * step, tried[best]


def next_width(tried: Mapping[int, float]) -> int:
    """Where to look for the width whose cost is 1, given widths and costs, which grow as a power of the width.

    Between the nearest widths that cost less and more, if there are both; else beyond the nearest, with the exponent
    of the two nearest, or of 1.5, since a step costs something between the width and its square. A width that was tried
    ends the search.
    """
    less, more = [w for w in tried if tried[w] < 1], [w for w in tried if tried[w] >= 1]
    if not (less and more):
        edge, *others = sorted(tried, reverse=bool(less))
        guess = round(edge * tried[edge] ** (-1 / _exponent(tried, edge, others[0]) if others else -1 / 1.5))
        return max(1, guess if guess != edge else edge + (1 if less else -1))
    low, high = max(less), min(more)
    if high - low < 2:  # Also where noise has turned them round.
        return low
    share = math.log(1 / tried[low]) / math.log(tried[high] / tried[low])
    return min(high - 1, max(low + 1, round(low * (high / low) ** share)))


def _exponent(tried: Mapping[int, float], one: int, other: int) -> float:
    """With which costs grow from one width to another, as far as that can be believed."""
    return min(3.0, max(0.4, math.log(tried[one] / tried[other]) / math.log(one / other)))


def _check_time(label: str, field: str, width: int, measured: timing.Ratio, tolerance: float) -> None:
    if measured.noise > NOISIEST:
        raise UserError(
            f"match: the time of a step of {label!r} is known to {measured.noise:.0%} only, which matches nothing; let "
            "nothing else run on this machine, or match by flops."
        )
    if abs(measured.value - 1) > max(tolerance, measured.noise):
        mine, wanted = numbers.show_time(measured.seconds), numbers.show_time(measured.reference_seconds)
        raise UserError(
            f"match: {label!r} comes no closer to a step of {wanted} than {mine} ({100 * (measured.value - 1):+.1f} %, "
            f"known to {100 * measured.noise:.1f} %), at {field}={width}; within {100 * tolerance:g} %, or what is "
            "known, is wanted. Choose a larger reference, or another free width."
        )
