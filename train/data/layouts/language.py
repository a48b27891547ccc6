"""All texts one behind the other, cut into windows: what a language model is trained on."""

import dataclasses
import logging
from typing import Any

import numpy as np

from train.data import layouts, sequences
from train.data.vocabulary import Vocabulary
from train.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Gives windows `tokens` [max_length] of the texts, each of which ends with the token END.

    A window of n tokens asks for n - 1 predictions, so windows overlap by one token: in evaluation every token but the
    first is predicted once. The last window of an evaluation may reach past the end; then there is a `mask`. Training
    leaves out tokens at the end that fill no window.

    Attributes:
        max_length: tokens in a window.
        stride: tokens between the beginnings of training windows; 1 trains on windows that begin anywhere, as nanoGPT
            does, and then an epoch has as many windows as tokens. None is `max_length` - 1: no overlap but the one.
        text: the column of text.
    """

    max_length: int
    stride: int | None = None
    text: str = "text"

    def __post_init__(self) -> None:
        layouts.check_length(self.max_length, 2)
        if self.stride is not None and self.stride < 1:
            raise UserError(f"config.data.layout.stride: {self.stride} is less than 1.")
        if self.stride is not None and self.stride >= self.max_length:
            raise UserError(
                f"config.data.layout.stride: {self.stride} would leave out tokens between windows of "
                f"{self.max_length}; it must be at most {self.max_length - 1}."
            )

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,)

    def sizes(self, vocabulary: Vocabulary) -> dict[str, int]:
        return {"vocab_size": vocabulary.size, "num_classes": vocabulary.size, "max_length": self.max_length}

    def arrange(self, examples: Any, vocabulary: Vocabulary, split: str) -> sequences.Windows:
        encoded = vocabulary.encode(layouts.read_texts(examples, self.text))
        flat = np.concatenate([part for text in encoded for part in (text, np.asarray([vocabulary.end], np.int32))])
        if len(flat) < self.max_length and split == "train":
            raise UserError(
                f"split {split!r} has {len(flat)} tokens, less than one window of {self.max_length}; lower "
                "config.data.layout.max_length, or give more text."
            )
        apart = self.max_length - 1
        if split != "train":
            return sequences.Windows(flat, np.arange(0, len(flat) - 1, apart), self.max_length)
        starts = np.arange(0, len(flat) - self.max_length + 1, self.stride or apart)
        if left := len(flat) - (int(starts[-1]) + self.max_length):
            log.info("%d of %d tokens at the end of the training split fill no window", left, len(flat))
        return sequences.Windows(flat, starts, self.max_length)

    def prompts(self, texts: list[str], vocabulary: Vocabulary) -> list[np.ndarray]:
        """Beginnings of texts, to be continued; an empty one is END, after which a text begins."""
        return [text if len(text) else np.asarray([vocabulary.end], np.int32) for text in vocabulary.encode(texts)]
