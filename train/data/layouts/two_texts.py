"""Two texts for each example, in a sequence each: for models that read them apart."""

import dataclasses
from typing import Any

from train.data import layouts, sequences
from train.data.layouts import text
from train.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Layout:
    """Gives `tokens` and `mask`, `tokens_2` and `mask_2` [max_length]: START, a text, END.

    Attributes:
        max_length: tokens at most, of each text, START and END included.
        truncate: whether longer texts are cut, and their number logged, instead of refused.
        first, second: the columns of text.
    """

    max_length: int
    truncate: bool = False
    first: str = "text"
    second: str = "text_pair"

    def __post_init__(self) -> None:
        layouts.check_length(self.max_length, 3)

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.first, self.second)

    def sizes(self, vocabulary: Vocabulary) -> dict[str, int]:
        return {"vocab_size": vocabulary.size, "max_length": self.max_length}

    def arrange(self, examples: Any, vocabulary: Vocabulary, split: str) -> sequences.Sequences:
        columns = zip(("tokens", "tokens_2"), self.texts, strict=True)
        layout = {name: text.Layout(self.max_length, self.truncate, column) for name, column in columns}
        ragged = {name: each.arrange(examples, vocabulary, split).ragged["tokens"] for name, each in layout.items()}
        masks = {"tokens": "mask", "tokens_2": "mask_2"}
        return sequences.Sequences(examples, ragged, dict.fromkeys(ragged, self.max_length), masks)
