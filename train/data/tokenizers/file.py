"""A tokenizer that is already there: one that a run has saved, or a `tokenizer.json` from elsewhere."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from train.data import files, vocabulary
from train.data.vocabulary import SPECIAL, Special


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Nothing is learned.

    Attributes:
        path: a file of the `tokenizers` library, or a folder with a `tokenizer.json`, such as that of a run.
        pad, unknown, start, separator, end, mask: words of its special tokens; BERT's are [PAD], [UNK], [CLS], [SEP],
            [SEP] and [MASK].
    """

    path: str
    pad: str = SPECIAL.pad
    unknown: str = SPECIAL.unknown
    start: str = SPECIAL.start
    separator: str = SPECIAL.separator
    end: str = SPECIAL.end
    mask: str = SPECIAL.mask

    @property
    def special(self) -> Special:
        return Special(self.pad, self.unknown, self.start, self.separator, self.end, self.mask)

    def train(self, texts: Iterable[str]) -> Any:
        place = files.find(self.path, "config.data.tokenizer.path")
        return vocabulary.read(place / "tokenizer.json" if place.is_dir() else place)
