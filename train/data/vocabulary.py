"""Between text and tokens: a trained tokenizer of the `tokenizers` library, and which tokens stand for no text."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from etils import epath

from train.errors import UserError


@dataclasses.dataclass(frozen=True)
class Special:
    """The words for tokens that stand for no text.

    Attributes:
        pad: fills what follows a text.
        unknown: what the vocabulary lacks.
        start: begins a text, as BERT's [CLS].
        separator: between two texts.
        end: ends a text.
        mask: hides a token.
    """

    pad: str = "[PAD]"
    unknown: str = "[UNK]"
    start: str = "[START]"
    separator: str = "[SEP]"
    end: str = "[END]"
    mask: str = "[MASK]"

    def words(self) -> list[str]:
        return list(dataclasses.astuple(self))


SPECIAL = Special()  # Of trained tokenizers, which give them the numbers 0 to 5 in this order.


def numbered(words: Iterable[str]) -> dict[str, int]:
    """The special tokens and then `words`, each with its number; a word spelled like a special token is that one."""
    return {word: number for number, word in enumerate(dict.fromkeys([*SPECIAL.words(), *words]))}


def check_size(size: int, least: int, why: str) -> None:
    if size < least:
        raise UserError(f"config.data.tokenizer.vocab_size: {size} is too small; it must be at least {least}: {why}.")


def check_frequency(frequency: int) -> None:
    if frequency < 0:
        raise UserError(f"config.data.tokenizer.min_frequency: {frequency} is out of range; it must be at least 0.")


class Tokenizer(Protocol):
    """How text is cut: a frozen dataclass, one for each module of `train.data.tokenizers`.

    `special` says which words its special tokens have.
    """

    special: Special

    def train(self, texts: Iterable[str]) -> Any:
        """A `tokenizers.Tokenizer`, made from the texts of the training split."""
        ...


class Vocabulary:
    """A trained tokenizer. What a text spells out is text, even where it looks like a special token.

    Attributes:
        size: tokens that there are: one more than the greatest number of one.
        pad, unknown, start, separator, end, mask: the special ones, by number.
    """

    def __init__(self, tokenizer: Any, special: Special):
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()  # Files from elsewhere may ask for it: cutting is for layouts, which count.
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        # Files from elsewhere may leave numbers out, or all of them.
        self.size: int = 1 + max(tokenizer.get_vocab().values(), default=-1)
        self.special = special
        numbers = {role: tokenizer.token_to_id(word) for role, word in dataclasses.asdict(special).items()}
        for role, number in numbers.items():
            if number is None:
                word = getattr(special, role)
                raise UserError(f"config.data.tokenizer.{role}: the tokenizer has no token {word!r}.")
        self.pad: int = numbers["pad"]
        self.unknown: int = numbers["unknown"]
        self.start: int = numbers["start"]
        self.separator: int = numbers["separator"]
        self.end: int = numbers["end"]
        self.mask: int = numbers["mask"]

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each text, without special ones around them."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(text.ids, np.int32) for text in encoded]

    def decode(self, tokens: Iterable[Any]) -> list[str]:
        """The text of each sequence of tokens, special ones left out."""
        return self._tokenizer.decode_batch([np.asarray(row).tolist() for row in tokens], skip_special_tokens=True)

    def save(self, file: epath.Path) -> None:
        """Writes the tokenizer, whole or not at all, as the `tokenizers` library reads it."""
        new = file.parent / f"{file.name}.new"
        new.write_text(self._tokenizer.to_str(pretty=True))
        new.replace(file)


def load(file: epath.Path, special: Special) -> Vocabulary:
    """The vocabulary that `Vocabulary.save`, or anybody's `tokenizers` library, has written.

    Raises:
        UserError: it is not there or cannot be read.
    """
    return Vocabulary(read(file), special)


def read(file: epath.Path) -> Any:
    """The `tokenizers.Tokenizer` in a file."""
    import tokenizers

    if not file.exists():
        raise UserError(f"the tokenizer {file} does not exist.")
    try:
        return tokenizers.Tokenizer.from_str(file.read_text())
    except Exception as error:  # The library raises nothing more specific.
        raise UserError(f"{file} is no tokenizer that can be read: {error}") from error
