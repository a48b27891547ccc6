"""What configs share: choosing by the argument after the colon."""

import difflib
from collections.abc import Iterable


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
