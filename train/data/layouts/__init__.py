"""How texts become what a model reads. Each module has a `Layout`: a frozen dataclass with

- `texts`: the columns of text that it reads;
- `sizes(vocabulary)`: what the model must be large enough for, by its fields;
- `arrange(examples, vocabulary, split)`: the examples of a split, with tokens in the place of texts;
- for those whose models write, `prompts(texts, vocabulary)`: what the model reads of texts that have no answer yet.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from train.data import sequences
from train.data.vocabulary import Vocabulary
from train.errors import UserError, nearest

log = logging.getLogger(__name__)


def read_texts(examples: Any, name: str) -> list[str]:
    """A column of text.

    Raises:
        UserError: there is no such column, or it holds no text.
    """
    given = examples[np.zeros(1, int)]
    if name not in given:
        raise UserError(f"config.data.layout: the data have no {name!r}; {nearest(name, given)}")
    if given[name].dtype != object:
        raise UserError(f"config.data.layout: {name!r} of the data holds no text, but {given[name].dtype}.")
    column = sequences.column(examples, name)
    return [text.decode("utf-8") if isinstance(text, bytes) else text for text in column]


def origins(examples: Any, split: str) -> Callable[[int], str]:
    """Where the text of an example comes from, for messages."""
    if "origin" in examples[np.zeros(1, int)]:
        names = sequences.column(examples, "origin")
        return lambda number: names[number]
    return lambda number: f"example {number} of split {split!r}"


def fit(
    tokens: list[np.ndarray], most: int, *, truncate: bool, what: str, split: str, origin: Callable[[int], str]
) -> list[np.ndarray]:
    """Sequences of at most `most` tokens: longer ones are cut and counted if `truncate`, else refused.

    Raises:
        UserError: a sequence is too long, or empty; where it comes from is named.
    """
    for number, sequence in enumerate(tokens):
        if len(sequence) == 0:
            raise UserError(f"{origin(number)}: {what} is empty; remove the example, or fill in its text.")
        if len(sequence) > most and not truncate:
            raise UserError(
                f"{origin(number)}: {what} has {len(sequence)} tokens, and there is room for {most}; raise "
                "config.data.layout.max_length, or set config.data.layout.truncate=True to cut long texts."
            )
    if too_long := sum(len(sequence) > most for sequence in tokens):
        log.warning("split %s: %d of %d %ss are cut to %d tokens", split, too_long, len(tokens), what, most)
    return [sequence[:most] for sequence in tokens]


def surrounded(vocabulary: Vocabulary, *parts: np.ndarray) -> np.ndarray:
    """START, the parts with a SEPARATOR between them, END."""
    pieces: list[Any] = [[vocabulary.start]]
    for number, part in enumerate(parts):
        pieces += [[vocabulary.separator]] * (number > 0) + [part]
    return np.concatenate([*pieces, [vocabulary.end]]).astype(np.int32)


def check_length(max_length: int, least: int) -> None:
    if max_length < least:
        raise UserError(f"config.data.layout.max_length: {max_length} is too short; it must be at least {least}.")


def without(batch: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The entries with other names."""
    return {name: value for name, value in batch.items() if name not in names}
