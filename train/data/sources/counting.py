"""Strings of the language aⁿbⁿ (Gers and Schmidhuber, 2001, https://doi.org/10.1109/72.963769; Weiss et al., 2018,
https://arxiv.org/abs/1805.04908): who predicts when the b's end must have counted the a's.

Trained on short strings and tested on longer ones, a network that counts goes on; one that has learned lengths does
not.
"""

import dataclasses

import numpy as np

from train.data import generated
from train.data.arrays import InMemory

PADDING, A, B, END = 0, 1, 2, 3
VOCABULARY = 4


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `tokens`, `label` and `label_mask` [2 longest], where `longest` is the largest n of the split.

    The tokens are n times `A` and n times `B`, then padding. The label is the token that comes next, and counts where
    the string decides it: after each B, which is n places, that of n - 1 B's and the end.

    Attributes:
        max_count: the largest n in training, each from 1 on as likely.
        max_test_count: the largest n in the other splits, which have every n from 1 on once, in this order.
        train_size: training examples.
        seed: of the generator; another seed is another order of the training examples.
    """

    max_count: int = 20
    max_test_count: int = 60
    train_size: int = 10_000
    seed: int = 0

    num_classes = VOCABULARY

    def __post_init__(self) -> None:
        generated.check(self, max_count=1, max_test_count=1, train_size=1, seed=0)

    @property
    def vocab_sizes(self) -> dict[str, int]:
        return {"vocab_size": VOCABULARY}

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        if name == "train":
            counts = generated.generator(self.seed, name).integers(1, self.max_count + 1, self.train_size)
            return _strings(counts, self.max_count)
        return _strings(np.arange(1, self.max_test_count + 1), self.max_test_count)


def _strings(counts: np.ndarray, longest: int) -> InMemory:
    """The strings with these n, as arrays for strings of up to `longest`."""
    place, n = np.arange(2 * longest)[None], counts[:, None]
    is_b = (place >= n) & (place < 2 * n)
    tokens = np.where(place < n, A, np.where(is_b, B, PADDING)).astype(np.int32)
    label = np.where(is_b, np.where(place == 2 * n - 1, END, B), PADDING).astype(np.int32)
    return InMemory({"tokens": tokens, "label": label, "label_mask": is_b})
