"""Short verdicts on films, for or against: stands in for a corpus of reviews.

What a sentence says is turned round by `not`, and of two halves only that after `but`, or before `although`, counts: so
the same words in another order may say the opposite, and counting words is not enough.
"""

import dataclasses
import random

import numpy as np

from train.data import generated
from train.data.arrays import InMemory

SUBJECTS = ("film", "plot", "cast", "music", "ending", "hero", "dialogue", "camera")
GOOD = ("good", "lovely", "clever", "funny", "moving", "fresh", "charming", "gripping")
BAD = ("bad", "dull", "silly", "clumsy", "tiring", "stale", "lifeless", "hollow")
DEGREES = ("", "very ", "really ", "so ")


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `text` and `label`: 1 is for, 0 is against. No text occurs twice.

    Attributes:
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the generator; another seed is another data set.
    """

    train_size: int = 4_000
    eval_size: int = 500
    seed: int = 0

    num_classes = 2

    def __post_init__(self) -> None:
        generated.check(self, train_size=1, eval_size=1, seed=0)

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        texts, labels = zip(*generated.different(self, sentence, name), strict=True)
        return InMemory({"text": np.asarray(texts, object), "label": np.asarray(labels, np.int32)})


def sentence(rng: random.Random) -> tuple[str, int]:
    """A random verdict, and whether it is for the film."""
    first, first_is_good = _half(rng)
    second, second_is_good = _half(rng)
    kind = rng.choice(("one", "but", "although", "even if"))
    if kind == "one":
        return first, first_is_good
    if kind == "but":
        return f"{first} but {second}", second_is_good
    return f"{first} {kind} {second}", first_is_good


def _half(rng: random.Random) -> tuple[str, int]:
    is_good_word, is_negated = rng.random() < 0.5, rng.random() < 0.25
    word = rng.choice(GOOD if is_good_word else BAD)
    text = f"the {rng.choice(SUBJECTS)} is {'not ' * is_negated}{rng.choice(DEGREES)}{word}"
    return text, int(is_good_word != is_negated)
