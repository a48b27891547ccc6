"""Token mixers: interchangeable ways to mix values over positions, inside the one multi-head attention.

A module file in this package is a mixer and its name is the file's name. Each ends with `Mixer`, a Linen
module with

    mix(q, k, v, *, mask, causal, train)

where q is [B, T, H, K], k and v are [B, S, H, K], `mask` [B, S] is True at real keys and `causal` lets
position t see keys up to t only; it returns [B, T, H, K]. A mixer that cannot honour one of these raises, and
never ignores it.
"""

import importlib
from typing import Any

from flax import linen as nn

from archs.layers.fields import choose, construct, modules


def names() -> tuple[str, ...]:
    """All mixers, in alphabetical order."""
    return modules(__path__)


def mixer_class(name: str) -> type[nn.Module]:
    """The class `Mixer` of one mixer; its dataclass fields are what `build` accepts."""
    return importlib.import_module(f"{__name__}.{choose('mixer', name, names())}").Mixer


def build(name: str, **fields: Any) -> nn.Module:
    """Builds a mixer from its fields; raises ValueError as `archs.build` does."""
    return construct(f"mixer {name}", mixer_class(name), fields)
