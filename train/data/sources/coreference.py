"""Stories of two animals that are called "it" afterwards: which of them is meant?

    the owl spied a squirrel . a hen slept nearby . it tried to grab it with its talons but only got the end of its
    tail . whose tail ?

The answer, an animal, takes the whole story: what is asked for belongs to the one that seizes or to the one that is
seized, and the first sentence, in the active or in the passive voice, says which animal that was. After the sentence of
the owl and the squirrel in the article.
"""

import dataclasses
import itertools
import random

import numpy as np

from train.data import generated
from train.data.arrays import InMemory

ANIMALS = (
    *("owl", "squirrel", "hawk", "mouse", "fox", "hen", "cat", "wren", "wolf", "lamb", "lynx", "hare", "boar", "toad"),
    *(
        "crow",
        "newt",
        "stoat",
        "vole",
        "eagle",
        "rat",
        "otter",
        "duck",
        "heron",
        "frog",
        "bear",
        "deer",
        "shrew",
        "mole",
    ),
)
SEEN = ("spied", "watched", "noticed", "found", "heard")
ITS_OWN = ("talons", "claws", "jaws", "teeth")  # What an animal seizes with,
SEIZED = ("tail", "ear", "fur", "leg")  # and what it seizes.
IDLE = ("slept", "sang", "ate", "rested", "drank")
PAIRS = tuple(itertools.combinations(range(len(ANIMALS)), 2))
SHARES = {"train": (0.0, 0.7), "validation": (0.7, 0.85), "test": (0.85, 1.0)}  # Of the pairs.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `text` and `label`, the animal that is asked for; no two animals meet in more than one split.

    Attributes:
        whole: whether the story is read; if not, its last sentence and the question alone, in which no animal is named.
        bystanders: the most other animals that a story mentions.
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the generator; another seed is another data set.
    """

    whole: bool = True
    bystanders: int = 1
    train_size: int = 20_000
    eval_size: int = 1_000
    seed: int = 0

    num_classes = len(ANIMALS)

    def __post_init__(self) -> None:
        generated.check(self, bystanders=0, train_size=1, eval_size=1, seed=0)

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        rng = random.Random(f"{self.seed} {name}")
        pairs = np.random.default_rng(self.seed).permutation(len(PAIRS))
        begin, end = (round(share * len(PAIRS)) for share in SHARES[name])
        size = self.train_size if name == "train" else self.eval_size
        stories = [self._story(rng, PAIRS[rng.choice(pairs[begin:end])]) for _ in range(size)]
        texts, labels = zip(*stories, strict=True)
        return InMemory({"text": np.asarray(texts, object), "label": np.asarray(labels, np.int32)})

    def _story(self, rng: random.Random, pair: tuple[int, int]) -> tuple[str, int]:
        """A story and the animal that is meant."""
        hunter, prey = rng.sample(pair, 2)
        others = [animal for animal in range(len(ANIMALS)) if animal not in pair]
        idle = [f"{_a(other)} {rng.choice(IDLE)} nearby ." for other in rng.sample(others, self.bystanders)]
        of_hunter, of_prey = rng.choice(ITS_OWN), rng.choice(SEIZED)
        asked_for_hunter = rng.random() < 0.5
        seen = rng.choice(SEEN)
        active = f"the {ANIMALS[hunter]} {seen} {_a(prey)} ."
        passive = f"{_a(prey)} was {seen} by the {ANIMALS[hunter]} ."
        meeting = rng.choice((active, passive))
        seizing = f"it tried to grab it with its {of_hunter} but only got the end of its {of_prey} ."
        question = f"whose {of_hunter if asked_for_hunter else of_prey} ?"
        told = [meeting, *idle[: rng.randint(0, self.bystanders)]] if self.whole else []
        return " ".join([*told, seizing, question]), hunter if asked_for_hunter else prey


def _a(animal: int) -> str:
    name = ANIMALS[animal]
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
