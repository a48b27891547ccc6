"""Apples to apples: two variants may differ in what is compared, and in what matching their budgets changed.

Published comparisons have been wrong for years over another batch size, precision or number of updates, so a difference
that nobody declared stops the comparison.
"""

import itertools
from collections.abc import Collection, Mapping

from ml_collections import ConfigDict

from train import config as configs
from train.errors import UserError


class Unfair(UserError):
    """Two variants differ in more than what is compared."""


def demand(variants: Mapping[str, ConfigDict], axis: Collection[str]) -> None:
    """Refuses variants that differ outside of `axis`.

    Args:
        variants: resolved configs by label.
        axis: fields that are compared or were matched, such as `model.cell`; a section stands for all that is in it.

    Raises:
        Unfair: they do; the message names the fields and both values.
    """
    for (first, one), (second, other) in itertools.combinations(variants.items(), 2):
        found = undeclared(one, other, axis)
        if found:
            raise Unfair(
                f"{first} and {second} differ in more than {', '.join(sorted(axis)) or 'nothing'}: {'; '.join(found)}. "
                "Make these fields equal, or declare them as what is compared."
            )


def undeclared(one: ConfigDict, other: ConfigDict, axis: Collection[str]) -> list[str]:
    """The fields outside of `axis` in which two configs differ and which change what is computed, with both values."""
    first, second = (configs.flatten(configs.to_json(config)) for config in (one, other))
    free = (*axis, *configs.FREE_OF_RESULT)
    return [
        f"{field}: {first.get(field, 'absent')!r} against {second.get(field, 'absent')!r}"
        for field in sorted(first.keys() | second.keys())
        if first.get(field) != second.get(field) and not any(f"{field}.".startswith(f"{name}.") for name in free)
    ]
