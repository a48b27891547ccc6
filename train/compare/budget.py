"""Equal budgets: each variant's free width is sized until all cost the same, by counting, without any training."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Literal

from ml_collections import ConfigDict

from train import config as configs
from train.compare import lab
from train.errors import UserError

Budget = Literal["parameters", "flops"]
KEYS: dict[str, str] = {"parameters": "parameters", "flops": "flops_forward"}
TOLERANCE = 0.02
FREE_WIDTHS = ("mlp_size", "hidden_size", "hidden_sizes")  # Of these, the first that a model has and gives.
WIDEST = 1 << 20


@dataclasses.dataclass(frozen=True)
class Matched:
    """A variant after matching.

    Attributes:
        config: the resolved config.
        field: the free width, such as `model.hidden_size`; None for the reference, which stays as it is.
        width: what it is now; widths of several layers keep their proportions.
        cost: parameters or FLOPs, now.
        deviation: from the reference, as a fraction.
    """

    config: ConfigDict
    field: str | None
    width: int | tuple[int, ...] | None
    cost: int
    deviation: float


def match(
    variants: Mapping[str, ConfigDict],
    by: Budget,
    *,
    reference: str | None = None,
    widths: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, Matched]:
    """Sizes every variant so that it costs what the reference costs.

    Args:
        variants: resolved configs by label.
        by: learned numbers, or operations of the forward pass of one example.
        reference: the label whose size stays; None is the first.
        widths: label to the field that is free, instead of the first of `FREE_WIDTHS` that the model has.
        tolerance: how far apart, as a fraction, costs may end.

    Raises:
        UserError: a variant has no free width, or none that comes close enough.
    """
    names = list(variants)
    reference = reference or names[0]
    if reference not in variants:
        raise UserError(f"match: the reference {reference!r} is no variant; there are {', '.join(names)}.")
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
    chosen = [f"{label} {one.field}={one.width} ({one.deviation:+.1%})" for label, one in matched.items() if one.field]
    return f"Equal {by}, those of {reference[0]}: {', '.join(chosen)}." if chosen else ""


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

    best = nearest(cost_at, target, WIDEST // step)
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


def nearest(cost_at: Callable[[int], int], target: int, most: int) -> int:
    """The argument from 1 to `most` at which a growing function comes nearest to `target`."""
    low, high = 1, 2
    while high < most and cost_at(high) < target:
        low, high = high, 2 * high
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
