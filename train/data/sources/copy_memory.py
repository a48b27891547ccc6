"""The copying memory task (Hochreiter & Schmidhuber, 1997; Arjovsky et al., 2016), as the code of Bai et al., 2018, has
it (https://github.com/locuslab/TCN): 10 symbols to remember, a long time of nothing, and the request to repeat them.

A model that remembers nothing can at best answer blank until it is asked and then guess: 10 ln 8 / (blanks + 20) nats a
step, see `Source.chance_loss`.
"""

import dataclasses
import math
from typing import Literal

import numpy as np

from train.data import generated
from train.data.arrays import InMemory

SYMBOLS = 10  # To remember.
ALPHABET = 8  # Of symbols, which are 1 to 8; blank is 0, and 9 asks for an answer.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `sequence` [blanks + 20, 1] or `tokens` [blanks + 20], and `label` [blanks + 20], one of 10 classes each.

    The sequence is 10 symbols, blanks - 1 blanks, and 11 times the number 9, all as plain numbers; the first 9 is the
    delimiter, and the answer is due in the 10 steps after it. The label is blank before.

    Attributes:
        blanks: T of the papers.
        form: plain numbers, as in the papers, or the same numbers as tokens, which a model embeds.
        longer_blanks: T of a further split, `longer`, to test beyond what was trained; None makes none.
        train_size: training examples; Bai et al. use 10,000.
        eval_size: examples in each of the other splits; Bai et al. use 1,000.
        seed: of the generator; another seed is another data set.
    """

    blanks: int = 200
    form: Literal["numbers", "tokens"] = "numbers"
    longer_blanks: int | None = None
    train_size: int = 10_000
    eval_size: int = 1_000
    seed: int = 0

    num_classes = ALPHABET + 2

    def __post_init__(self) -> None:
        generated.check(self, blanks=1, train_size=1, eval_size=1, seed=0)
        if self.longer_blanks is not None:
            generated.check(self, longer_blanks=1)

    @property
    def chance_loss(self) -> float:
        """Mean cross-entropy of a step, in nats, of the best model without memory."""
        return SYMBOLS * math.log(ALPHABET) / (self.blanks + 2 * SYMBOLS)

    @property
    def vocab_sizes(self) -> dict[str, int]:
        return {"vocab_size": self.num_classes} if self.form == "tokens" else {}

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS if self.longer_blanks is None else (*generated.SPLITS, "longer")

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        if name == "longer" and self.longer_blanks is not None:
            return self._examples("test", size, self.longer_blanks)
        return self._examples(name, size, self.blanks)

    def _examples(self, symbols_of: str, size: int, blanks: int) -> InMemory:
        symbols = generated.generator(self.seed, symbols_of).integers(1, ALPHABET + 1, size=(size, SYMBOLS))
        tokens = np.zeros((size, blanks + 2 * SYMBOLS), np.int32)
        tokens[:, :SYMBOLS] = symbols
        tokens[:, -SYMBOLS - 1 :] = ALPHABET + 1
        label = np.zeros_like(tokens)
        label[:, -SYMBOLS:] = symbols
        if self.form == "tokens":
            return InMemory({"tokens": tokens, "label": label})
        return InMemory({"sequence": tokens[..., None].astype(np.float32), "label": label})
