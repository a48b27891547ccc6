"""A source text and the target text that a model writes for it."""

import dataclasses
from typing import Any

import numpy as np

from train.data import layouts, sequences
from train.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Layout:
    """Gives `source` and `source_mask`, `target` and `target_mask` [max_length]: each a text and END.

    Attributes:
        max_length: tokens at most, END included, of source and target each.
        truncate: whether longer texts of the training split are cut, and their number logged, instead of refused. Texts
            of other splits, which are measured, are never cut.
        source, target: the columns of text.
    """

    max_length: int
    truncate: bool = False
    source: str = "source"
    target: str = "target"

    def __post_init__(self) -> None:
        layouts.check_length(self.max_length, 2)

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.source, self.target)

    def sizes(self, vocabulary: Vocabulary) -> dict[str, int]:
        names = ("source_vocab_size", "target_vocab_size")
        return {**dict.fromkeys(names, vocabulary.size), "max_length": self.max_length}

    def arrange(self, examples: Any, vocabulary: Vocabulary, split: str) -> sequences.Sequences:
        origin = layouts.origins(examples, split)
        ragged = {}
        for name, column in (("source", self.source), ("target", self.target)):
            fitting = layouts.fit(
                vocabulary.encode(layouts.read_texts(examples, column)),
                self.max_length - 1,
                truncate=self.truncate if split == "train" else None,
                what=column,
                split=split,
                origin=origin,
            )
            ragged[name] = sequences.Ragged.of([_ended(text, vocabulary) for text in fitting])
        masks = {name: f"{name}_mask" for name in ragged}
        return sequences.Sequences(examples, ragged, dict.fromkeys(ragged, self.max_length), masks)

    def prompts(self, texts: list[str], vocabulary: Vocabulary) -> list[np.ndarray]:
        """Sources, as the model reads them."""
        return [_ended(text, vocabulary) for text in vocabulary.encode(texts)]


def _ended(text: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    return np.append(text, np.int32(vocabulary.end)).astype(np.int32)
