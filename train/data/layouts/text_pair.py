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
        mark_shared: whether tokens that stand in the other text too have the types 2 and 3 in place of 0 and 1: the
            feature "exact match" of Chen et al. (2017, https://arxiv.org/abs/1704.00051, section 3.2).
    """

    max_length: int
    truncate: bool = False
    first: str = "text"
    second: str = "text_pair"
    mark_shared: bool = False

    def __post_init__(self) -> None:
        layouts.check_length(self.max_length, 5)

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.first, self.second)

    def sizes(self, vocabulary: Vocabulary) -> dict[str, int]:
        num_types = 4 if self.mark_shared else 2
        return {"vocab_size": vocabulary.size, "max_length": self.max_length, "num_types": num_types}

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
        types = sequences.Ragged.of([self._types(*pair) for pair in pairs])
        widths = {"tokens": self.max_length, "token_types": self.max_length}
        return sequences.Sequences(examples, {"tokens": tokens, "token_types": types}, widths, {"tokens": "mask"})

    def _types(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The types of START, the first text, SEPARATOR, the second text and END."""
        types = np.repeat(np.arange(2, dtype=np.int32), [len(first) + 2, len(second) + 1])
        if self.mark_shared:
            types[1 : len(first) + 1] += 2 * np.isin(first, second).astype(np.int32)
            types[-1 - len(second) : -1] += 2 * np.isin(second, first).astype(np.int32)
        return types

    def _cut(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is left of both if the longer loses tokens until they fit."""
        room = self.max_length - 3
        kept = min(len(first), max(room - len(second), (room + 1) // 2))
        return first[:kept], second[: room - kept]
