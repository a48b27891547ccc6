"""Examples that hold sequences of tokens: each padded to one length, or windows of one long text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from train.data import Examples


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, one behind the other in `flat`; sequence i is flat[starts[i] : starts[i + 1]]."""

    flat: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[np.ndarray]) -> "Ragged":
        starts = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences], dtype=np.int64)])
        return cls(np.concatenate([np.zeros(0, np.int32), *sequences]), starts)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def padded(self, indices: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The sequences at `indices` [B] as [B, width], 0 after the end of each, and where they are real."""
        places = np.arange(width)
        real = places < self.lengths[indices, None]
        tokens = np.zeros(real.shape, self.flat.dtype)
        tokens[real] = self.flat[(self.starts[indices, None] + places)[real]]
        return tokens, real


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Examples whose texts have become tokens; their other entries stay as they are.

    Attributes:
        examples: the other entries.
        ragged: sequences by name.
        widths: what each is padded to.
        masks: under which name it is said where a sequence is real; one without stands beside another of its length.
    """

    examples: "Examples"
    ragged: Mapping[str, Ragged]
    widths: Mapping[str, int]
    masks: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        batch = dict(self.examples[indices])
        for name, sequences in self.ragged.items():
            batch[name], real = sequences.padded(indices, self.widths[name])
            if name in self.masks:
                batch[self.masks[name]] = real
        return batch

    @property
    def lengths(self) -> dict[str, np.ndarray]:
        """The length of every example's sequence, under each name that it has in a batch, masks included."""
        own = {name: sequences.lengths for name, sequences in self.ragged.items()}
        return own | {mask: own[name] for name, mask in self.masks.items()}


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of a long text: `tokens` [length], with `mask` where the last one reaches past the end.

    Attributes:
        flat: the tokens of the text.
        starts: where windows begin.
        length: of a window.
    """

    flat: np.ndarray
    starts: np.ndarray
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        places = self.starts[indices, None] + np.arange(self.length)
        real = places < len(self.flat)
        tokens = self.flat[np.minimum(places, len(self.flat) - 1)] * real
        reaches_past = len(self.starts) > 0 and self.starts[-1] + self.length > len(self.flat)
        return {"tokens": tokens, "mask": real} if reaches_past else {"tokens": tokens}


def column(examples: Any, name: str) -> np.ndarray:
    """One entry of all examples; those whose other entries are costly to read have a method for it."""
    if hasattr(examples, "column"):
        return examples.column(name)
    return examples[np.arange(len(examples))][name]
