"""What arguments a dataclass, Flax module or function takes, and which values their types allow."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from flax.core import FrozenDict
from ml_collections import ConfigDict

REQUIRED = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True)
class Field:
    """One argument of a section's target: its type, and its default or `REQUIRED`."""

    type: Any
    default: Any = REQUIRED

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED


def fields_of(target: Callable[..., Any], *, skip: Sequence[str] = ("parent", "name")) -> dict[str, Field]:
    """The arguments of a dataclass, Flax module or function, with types and defaults."""
    try:
        hints = typing.get_type_hints(target)
    except NameError:  # Optax names types that it imports for type checkers only; defaults tell the types then.
        hints = {}
    parameters = inspect.signature(target).parameters.values()
    return {p.name: _field(p, hints) for p in parameters if p.name not in skip and p.kind != p.VAR_KEYWORD}


def _field(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Field:
    default = parameter.default
    if isinstance(default, dataclasses.Field) or type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        default = FrozenDict()  # The one default that dataclasses here make by a factory.
    hint = hints.get(parameter.name, Any)
    if not _is_plain(hint):  # An Optax signature says ArrayLike for what is a number.
        hint = Any if default in (None, REQUIRED) else type(default)
    return Field(hint, default)


def _is_plain(hint: Any) -> bool:
    """Whether a type is one that a config can hold: numbers, strings, choices, tuples, mappings, and None."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return all(_is_plain(choice) for choice in inner)
    if origin is tuple:
        return all(choice is Ellipsis or _is_plain(choice) for choice in inner)
    return hint in (bool, int, float, str, types.NoneType) or origin in (Literal, Mapping, FrozenDict)


def allows(hint: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(allows(choice, value) for choice in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and _allows_items(inner, value)
    if origin in (Mapping, FrozenDict) or hint is FrozenDict:
        return isinstance(value, Mapping | ConfigDict)
    if hint is float:
        return type(value) in (int, float)
    return value is None if hint is types.NoneType else type(value) is hint


def as_text(hint: Any, value: Any) -> Any:
    """The value of a flag, as text where only text is allowed: the variant 50 of a ResNet is no number."""
    return str(value) if type(value) is int and not allows(hint, value) and allows(hint, str(value)) else value


def _allows_items(hints: Sequence[Any], values: tuple[Any, ...]) -> bool:
    if Ellipsis in hints:
        return all(allows(hints[0], value) for value in values)
    return len(hints) == len(values) and all(map(allows, hints, values))


def describe(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(choice) for choice in inner)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, inner))
    if hint is types.NoneType:
        return "None"
    return str(hint) if origin else getattr(hint, "__name__", str(hint))
