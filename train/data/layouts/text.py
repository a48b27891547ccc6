"""One text for each example, to be classified, or to be learned from by hiding words."""

import dataclasses
from typing import Any

from train.data import layouts, sequences
from train.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Layout:
    """Gives `tokens` and `mask` [max_length]: START, the text, END.

    Attributes:
        max_length: tokens at most, START and END included.
        truncate: whether longer texts are cut, and their number logged, instead of refused.
        text: the column of text.
    """

    max_length: int
    truncate: bool = False
    text: str = "text"

    def __post_init__(self) -> None:
        layouts.check_length(self.max_length, 3)

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,)

    def sizes(self, vocabulary: Vocabulary) -> dict[str, int]:
        return {"vocab_size": vocabulary.size, "max_length": self.max_length}

    def arrange(self, examples: Any, vocabulary: Vocabulary, split: str) -> sequences.Sequences:
        texts = vocabulary.encode(layouts.read_texts(examples, self.text))
        fitting = layouts.fit(
            texts,
            self.max_length - 2,
            truncate=self.truncate,
            what=self.text,
            split=split,
            origin=layouts.origins(examples, split),
        )
        tokens = sequences.Ragged.of([layouts.surrounded(vocabulary, text) for text in fitting])
        return sequences.Sequences(examples, {"tokens": tokens}, {"tokens": self.max_length}, {"tokens": "mask"})
