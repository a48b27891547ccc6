"""What configs share: choosing by the argument after the colon, and what language models learn from before a task."""

import difflib
from collections.abc import Iterable
from typing import Any

EMBEDDED = "embedded"

# Of sst2 and the English half of Multi30k, and the lines of Tiny Shakespeare; no labels, and no test split.
SENTENCES = {
    "name": "text",
    "unit": "line",
    "train": ("sst2/train.tsv:0", "multi30k/train.en.gz", "tfds:tiny_shakespeare"),
    "validation": ("sst2/dev.tsv:0", "multi30k/val.en.gz", "tfds:tiny_shakespeare"),
}
# The networks that learn from these sentences and those that go on from them, which must be of one shape.
SIZES: dict[str, Any] = {"max_length": 128, "hidden_size": 128, "num_layers": 4, "num_heads": 4, "mlp_size": 512}
BERT: dict[str, Any] = {"name": "bert", "num_types": 4, **SIZES}  # The last two types are marks of configs/nli.py.
GPT: dict[str, Any] = {"name": "gpt", "norm": "post", **SIZES}


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
