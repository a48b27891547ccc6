"""How texts become what a model reads. Each module has a `Layout`: a frozen dataclass with

- `texts`: the columns of text that it reads;
- `sizes(vocabulary)`: what the model must be large enough for, by its fields;
- `arrange(examples, vocabulary, split)`: the examples of a split, with tokens in the place of texts;
- for those whose models write, `prompts(texts, vocabulary)`: what the model reads of texts that have no answer yet.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from train.data import files, sequences
from train.data.vocabulary import Vocabulary
from train.errors import UserError, nearest

log = logging.getLogger(__name__)


def read_texts(examples: Any, name: str) -> list[str]:
    """A column of text.

    Raises:
        UserError: there is no such column, it holds no text, or what is not UTF-8.
    """
    given = examples[np.zeros(1, int)]
    if name not in given:
        raise UserError(f"config.data.layout: the data have no {name!r}; {nearest(name, given)}")
    if given[name].dtype != object:
        raise UserError(f"config.data.layout: {name!r} of the data holds no text, but {given[name].dtype}.")
    column = sequences.column(examples, name)
    return [
        files.decode(text, f"{name} of example {number}") if isinstance(text, bytes) else text
        for number, text in enumerate(column)
    ]


def origins(examples: Any, split: str) -> Callable[[int], str]:
    """Where the text of an example comes from, for messages."""
    if "origin" in examples[np.zeros(1, int)]:
        names = sequences.column(examples, "origin")
        return lambda number: names[number]
    return lambda number: f"split {split!r}, example {number}"


def refuse_empty(tokens: Sequence[np.ndarray], *, what: str, origin: Callable[[int], str]) -> None:
    """Raises UserError for a text without tokens, saying where it comes from."""
    for number, sequence in enumerate(tokens):
        if len(sequence) == 0:
            raise UserError(f"{origin(number)}: {what} is empty; remove the example, or fill in its text.")


def refuse_long(
    lengths: Sequence[int], most: int, *, truncate: bool | None, what: str, split: str, origin: Callable[[int], str]
) -> None:
    """Raises UserError for a text of more than `most` tokens; if `truncate`, logs how many there are.

    None is for what is never cut, so that nobody is told to ask for it.
    """
    too_long = [number for number, length in enumerate(lengths) if length > most]
    if too_long and not truncate:
        hint = "" if truncate is None else ", or set config.data.layout.truncate=True to cut long texts"
        raise UserError(
            f"{origin(too_long[0])}: {what} has {lengths[too_long[0]]} tokens, and there is room for {most}; raise "
            f"config.data.layout.max_length{hint}."
        )
    if too_long:
        log.warning("split %s: %s is cut to %d tokens in %d of %d", split, what, most, len(too_long), len(lengths))


def fit(
    tokens: list[np.ndarray], most: int, *, truncate: bool | None, what: str, split: str, origin: Callable[[int], str]
) -> list[np.ndarray]:
    """Sequences of at most `most` tokens: longer ones are cut and counted if `truncate`, else refused.

    Raises:
        UserError: a sequence is too long, or empty; where it comes from is named.
    """
    refuse_empty(tokens, what=what, origin=origin)
    refuse_long(list(map(len, tokens)), most, truncate=truncate, what=what, split=split, origin=origin)
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
