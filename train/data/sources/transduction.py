"""Strings of random symbols, to be copied or reversed.

Token 0 is padding, and the start of a target; 1 is its end; symbols follow. Bahdanau et al., 2014, motivate attention
by how translations of long sentences fail; here length is all that is hard.
"""

import dataclasses
from typing import Literal

import numpy as np

from train.data.arrays import InMemory
from train.errors import UserError

SPLITS = ("train", "validation", "test")
END, FIRST = 1, 2


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `source` and `source_mask` [max_length], `target` and `target_mask` [max_length + 1].

    Or all in one sequence: `tokens` and `mask` [2 max_length + 2].

    Attributes:
        task: whether the target is the source or the source from its end to its beginning.
        layout: "pair" for an encoder and a decoder; "joined" for models of one sequence: source, end token, target, end
            token.
        min_length: of a string, without the end token.
        max_length: likewise; lengths are uniform.
        alphabet_size: symbols, each as likely.
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the generator; another seed is another data set.
    """

    task: Literal["copy", "reverse"] = "reverse"
    layout: Literal["pair", "joined"] = "pair"
    min_length: int = 1
    max_length: int = 12
    alphabet_size: int = 8
    train_size: int = 20_000
    eval_size: int = 1_000
    seed: int = 0

    num_classes = None

    def __post_init__(self) -> None:
        least = {"min_length": 1, "max_length": self.min_length, "alphabet_size": 1, "train_size": 1, "eval_size": 1}
        for field, value in {**least, "seed": 0}.items():
            if getattr(self, field) < value:
                raise UserError(f"config.data.source.{field}: {getattr(self, field)} is less than {value}.")

    @property
    def vocab_sizes(self) -> dict[str, int]:
        fields = ("source_vocab_size", "target_vocab_size") if self.layout == "pair" else ("vocab_size",)
        return dict.fromkeys(fields, FIRST + self.alphabet_size)

    def splits(self) -> tuple[str, ...]:
        return SPLITS

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        rng = np.random.default_rng((self.seed, SPLITS.index(name)))
        lengths = rng.integers(self.min_length, self.max_length + 1, size=(size, 1))
        symbols = rng.integers(FIRST, FIRST + self.alphabet_size, size=(size, self.max_length))
        places = np.arange(self.max_length + 1)[None]
        mask, target_mask = places[:, :-1] < lengths, places <= lengths
        source = np.where(mask, symbols, 0)
        order = lengths - 1 - places if self.task == "reverse" else np.broadcast_to(places, target_mask.shape)
        copied = np.take_along_axis(source, np.clip(order, 0, self.max_length - 1), axis=1)
        target = np.where(places < lengths, copied, np.where(places == lengths, END, 0))
        if self.layout == "joined":
            return _joined(source, target, lengths)
        return InMemory(
            {
                "source": source.astype(np.int32),
                "source_mask": mask,
                "target": target.astype(np.int32),
                "target_mask": target_mask,
            }
        )


def _joined(source: np.ndarray, target: np.ndarray, lengths: np.ndarray) -> InMemory:
    places = np.arange(source.shape[1] + target.shape[1] + 1)[None]
    before = np.take_along_axis(np.pad(source, ((0, 0), (0, 1))), np.minimum(places, source.shape[1]), axis=1)
    after = np.take_along_axis(target, np.clip(places - lengths - 1, 0, target.shape[1] - 1), axis=1)
    mask = places <= 2 * lengths + 1
    tokens = np.where(places < lengths, before, np.where(places == lengths, END, after)) * mask
    return InMemory({"tokens": tokens.astype(np.int32), "mask": mask})
