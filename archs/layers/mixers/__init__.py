"""Token mixers: interchangeable ways to mix values over positions, inside the one multi-head attention.

A module file in this package is a mixer and its name is the file's name. Each ends with `Mixer`, a Linen
module with

    mix(q, k, v, *, mask, causal, train)

where q is [B, T, H, K], k [B, S, H, K] and v [B, S, H, V], `mask` [B, S] is True at real keys and `causal` lets
position t see keys up to t only; it returns [B, T, H, V]. Its class says what it can do, and attention refuses to
build with a mixer that lacks what is asked for:

- `honours`: which of "mask", "causal", "cross" (keys of another sequence than the queries) and "cache" (queries that
  come later than the first keys; such a mixer also takes `offset`, the place of the first query among the keys);
- `reads`: which of "query" and "key" it needs, which may depend on fields; attention makes no projection that is not
  read, and passes None.

A mixer whose `shares` is True has a method `share`, whose result, made once, all layers of a stack get as `shared`.

Fields end with `dtype` and `param_dtype`, which are those of the attention around it.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from flax.core import FrozenDict

from archs.layers.fields import choose, construct, modules


def names() -> tuple[str, ...]:
    """All mixers, in alphabetical order."""
    return modules(__path__)


def mixer_class(name: str) -> Any:
    """The class `Mixer` of one mixer; its dataclass fields are what `build` accepts."""
    return importlib.import_module(f"{__name__}.{choose('mixer', name, names())}").Mixer


def build(mixer: str, fields: Mapping[str, Any], **unchecked: Any) -> nn.Module:
    """Builds a mixer from its fields; raises ValueError as `archs.build` does. `unchecked` are Linen's own."""
    return construct(f"mixer {mixer}", mixer_class(mixer), fields, **unchecked)


def with_dropout(mixer: str, fields: Mapping[str, Any], rate: float) -> FrozenDict[str, Any]:
    """`fields`, with dropout of attention weights at `rate` if the mixer can drop them and `fields` leave it open."""
    can_drop = "dropout_rate" in mixer_class(mixer).__dataclass_fields__
    is_open = fields.get("dropout_rate") is None
    return FrozenDict({**fields, "dropout_rate": rate} if can_drop and is_open else fields)


def demand(mixer: str, **asked: bool) -> None:
    """Raises ValueError if a mixer does not honour what is asked for, such as causal=True."""
    honours = mixer_class(mixer).honours
    for what, is_asked in asked.items():
        if is_asked and what not in honours:
            able = [name for name in names() if what in mixer_class(name).honours]
            raise ValueError(f"mixer {mixer}: cannot honour {what!r}; mixers that can: {', '.join(able)}")
