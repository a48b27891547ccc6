"""What configs share: choosing by the argument after the colon."""

import difflib
from collections.abc import Iterable

EMBEDDED = "embedded"


def choose(argument: str, allowed: Iterable[str], default: str | None = None) -> str:
    """Returns `argument`, or `default` where none is given.

    Raises:
        ValueError: the argument is not one of `allowed`.
    """
    allowed = list(allowed)
    if not argument and default is not None:
        return default
    if argument not in allowed:
        close = difflib.get_close_matches(argument, allowed, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(
            f"argument {argument!r} is not known{hint}; write it after a colon. Allowed: {', '.join(allowed)}."
        )
    return argument


def choose_data(argument: str, allowed: Iterable[str], default: str) -> tuple[str, bool]:
    """Splits `NAME`, `NAME:embedded` or `embedded`: the choice, and whether it wants the data that need no files.

    Raises:
        ValueError: as `choose`.
    """
    name, _, data = argument.partition(":")
    if name == EMBEDDED and not data:
        name, data = "", EMBEDDED
    if data not in ("", EMBEDDED):
        raise ValueError(
            f"argument {argument!r}: {data!r} is not known; after the second colon only {EMBEDDED!r} may stand."
        )
    return choose(name, allowed, default), data == EMBEDDED
