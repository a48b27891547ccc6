"""Fields of modules: which names and values are allowed, and errors that say so in one line.

A field's annotation is all there is to declare. `Literal` lists its choices; the conventions of naming do the
rest: `num_…`, `…_size` and `…_sizes` count something, so are at least 1, and a `…_rate` is a probability
below 1.
"""

import dataclasses
import difflib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from flax.core import FrozenDict

Dtype = Literal["float16", "bfloat16", "float32", "float64"]
T = TypeVar("T")


def modules(path: Iterable[str]) -> tuple[str, ...]:
    """Names of the modules in a package, given its `__path__`; packages inside it are left out."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(path) if not module.ispkg))


def choose(what: str, given: Any, allowed: Iterable[Any]) -> Any:
    """Returns `given` if it is allowed, else raises a ValueError that names the nearest allowed value."""
    allowed = tuple(allowed)
    if given in allowed:
        return given
    near = difflib.get_close_matches(str(given), [str(choice) for choice in allowed], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(map(str, allowed)) or "none"
    raise ValueError(f"{what} {given!r} is unknown; {hint}allowed: {listed}")


def refuse(owner: str, problems: Mapping[str, bool]) -> None:
    """Raises ValueError for the first problem that is found: its key, after the name of its owner."""
    for problem, is_found in problems.items():
        if is_found:
            raise ValueError(f"{owner}: {problem}")


def construct(owner: str, cls: type[T], fields: Mapping[str, Any], **unchecked: Any) -> T:
    """Calls a dataclass or Linen module with `fields`, checked first; `owner` begins every error message.

    `unchecked` are further arguments, from code instead of a user.

    Raises:
        ValueError: A field is unknown or missing, or its value is not one of its choices or out of range.
    """
    all_fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    known = {f.name: f for f in all_fields if f.init and f.name not in ("parent", "name")}
    for name, value in fields.items():
        choose(f"{owner}: field", name, known)
        _check(f"{owner}: {name}", name, value, known[name].type)
    for name, field in known.items():
        if field.default is field.default_factory is dataclasses.MISSING and name not in {**fields, **unchecked}:
            raise ValueError(f"{owner}: field {name!r} is required; give it, for example {name}=…")
    # Modules are static arguments of jit, so they must hash.
    frozen = {name: FrozenDict(v) if isinstance(v, Mapping) else v for name, v in fields.items()}
    return cls(**frozen, **unchecked)


def _check(what: str, name: str, value: Any, annotation: Any) -> None:
    if value is None and type(None) in get_args(annotation):
        return
    if choices := _choices(annotation):
        choose(what, value, choices)
    numbers = [v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, int | float)]
    if name.endswith("_rate") and not all(0 <= v < 1 for v in numbers):
        raise ValueError(f"{what} is {value}; allowed: at least 0 and less than 1")
    if (name.startswith("num_") or name.endswith(("_size", "_sizes"))) and not all(v >= 1 for v in numbers):
        raise ValueError(f"{what} is {value}; allowed: at least 1")


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values that `Literal[…]` or `Literal[…] | None` lists; empty for any other annotation."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for part in get_args(annotation) for choice in _choices(part))
