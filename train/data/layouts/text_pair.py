"""Two texts for each example, in one sequence: does the second follow from the first?"""

import dataclasses
from typing import Any

import numpy as np

from train.data import layouts, sequences
from train.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Layout:
    """Gives `tokens` and `mask` [max_length]: START, first text, SEPARATOR, second text, END; and `token_types`.

    These are 0 up to the SEPARATOR and 1 after it, as BERT has them (Devlin et al., 2018, Fig. 2). GPT-1 reads the same
    sequence at its end (Radford et al., 2018, section 3.3: start, delimiter and extract tokens).

    Attributes:
        max_length: tokens at most, special ones included.
        truncate: whether longer pairs are cut, from the end of the text that is the longer at the time, and their
            number logged, instead of refused.
        first, second: the columns of text.
    """

    max_length: int
    truncate: bool = False
    first: str = "text"
    second: str = "text_pair"

    def __post_init__(self) -> None:
        layouts.check_length(self.max_length, 5)

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.first, self.second)

    def sizes(self, vocabulary: Vocabulary) -> dict[str, int]:
        return {"vocab_size": vocabulary.size, "max_length": self.max_length}

    def arrange(self, examples: Any, vocabulary: Vocabulary, split: str) -> sequences.Sequences:
        origin = layouts.origins(examples, split)
        columns = [vocabulary.encode(layouts.read_texts(examples, name)) for name in self.texts]
        for name, texts in zip(self.texts, columns, strict=True):
            layouts.refuse_empty(texts, what=name, origin=origin)
        layouts.refuse_long(
            [len(first) + len(second) for first, second in zip(*columns, strict=True)],
            self.max_length - 3,
            truncate=self.truncate,
            what=" and ".join(self.texts),
            split=split,
            origin=origin,
        )
        pairs = [self._cut(*pair) for pair in zip(*columns, strict=True)]
        tokens = sequences.Ragged.of([layouts.surrounded(vocabulary, *pair) for pair in pairs])
        types = sequences.Ragged.of(
            [np.repeat(np.arange(2, dtype=np.int32), [len(first) + 2, len(second) + 1]) for first, second in pairs]
        )
        widths = {"tokens": self.max_length, "token_types": self.max_length}
        return sequences.Sequences(examples, {"tokens": tokens, "token_types": types}, widths, {"tokens": "mask"})

    def _cut(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is left of both if the longer loses tokens until they fit."""
        room = self.max_length - 3
        kept = min(len(first), max(room - len(second), (room + 1) // 2))
        return first[:kept], second[: room - kept]
