"""The copying memory task (Hochreiter & Schmidhuber, 1997; Arjovsky et al., 2016), as the code of Bai et al., 2018, has
it (https://github.com/locuslab/TCN): 10 symbols to remember, a long time of nothing, and the request to repeat them.

A model that remembers nothing can at best answer blank until it is asked and then guess: 10 ln 8 / (blanks + 20) nats a
step, see `Source.chance_loss`.
"""

import dataclasses
import math

import numpy as np

from train.data import generated
from train.data.arrays import InMemory

SYMBOLS = 10  # To remember.
ALPHABET = 8  # Of symbols, which are 1 to 8; blank is 0, and 9 asks for an answer.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `sequence` [blanks + 20, 1] and `label` [blanks + 20], one of 10 classes for every step.

    The sequence is 10 symbols, blanks - 1 blanks, and 11 times the number 9, all as plain numbers; the first 9 is the
    delimiter, and the answer is due in the 10 steps after it. The label is blank before.

    Attributes:
        blanks: T of the papers.
        train_size: training examples; Bai et al. use 10,000.
        eval_size: examples in each of the other splits; Bai et al. use 1,000.
        seed: of the generator; another seed is another data set.
    """

    blanks: int = 200
    train_size: int = 10_000
    eval_size: int = 1_000
    seed: int = 0

    num_classes = ALPHABET + 2

    def __post_init__(self) -> None:
        generated.check(self, blanks=1, train_size=1, eval_size=1, seed=0)

    @property
    def chance_loss(self) -> float:
        """Mean cross-entropy of a step, in nats, of the best model without memory."""
        return SYMBOLS * math.log(ALPHABET) / (self.blanks + 2 * SYMBOLS)

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        symbols = generated.generator(self.seed, name).integers(1, ALPHABET + 1, size=(size, SYMBOLS))
        sequence = np.zeros((size, self.blanks + 2 * SYMBOLS, 1), np.float32)
        sequence[:, :SYMBOLS, 0] = symbols
        sequence[:, -SYMBOLS - 1 :] = ALPHABET + 1
        label = np.zeros(sequence.shape[:2], np.int32)
        label[:, -SYMBOLS:] = symbols
        return InMemory({"sequence": sequence, "label": label})
