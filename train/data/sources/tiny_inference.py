"""Pairs of sentences about all, some, no and not all of a kind: stands in for a corpus of inference between sentences.

    in the park all dogs sprint / in the park some mammals move: entailment
    in the park all dogs move / in the park all poodles sprint: neutral
    in the park no mammals move / in the park some dogs sprint: contradiction

Kinds contain each other, and so do what they do; of every kind there is one at every place. Labels are computed: a
world says which kinds of beings there are that do what, and the second sentence is entailed if it is true in all worlds
in which the first is, and contradicted if in none.

Neither sentence tells the label alone: pairs are drawn with weights for which every form of sentence, as the first and
as the second, has each label with the same probability, and the words that fill a form are drawn without regard to it.
"""

import dataclasses
import functools
import itertools

import numpy as np

from train.data import generated
from train.data.arrays import InMemory

QUANTIFIERS = ("all", "some", "no", "not all")
KINDS = (  # Each contained in the next.
    ("poodles", "dogs", "mammals"),
    ("robins", "songbirds", "birds"),
    ("vipers", "snakes", "reptiles"),
    ("bumblebees", "bees", "insects"),
)
DEEDS = (("sprint", "move"), ("sing loudly", "sing"), ("are tiny", "are small"), ("are crimson", "are red"))
PLACES = ("park", "zoo", "garden", "forest", "valley", "village", "meadow", "museum", "film", "story")
FORMS = tuple(itertools.product(QUANTIFIERS, range(3), range(2)))  # Quantifier, kind, deed.
SETTINGS = tuple(itertools.product(PLACES, KINDS, DEEDS))
SHARES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}  # Of the settings.
ELSEWHERE = 0.3  # Share of neutral pairs whose second sentence speaks of another setting.
REPEATED = 0.1  # Weight of a sentence with itself, and 1 that of all other pairs, before they are balanced.
BALANCING = 1_000  # Rounds.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `text`, `text_pair` and `label`: 0 entailment, 1 neutral, 2 contradiction.

    A setting is a place, a family of kinds and one of deeds; no setting of a sentence is in two splits. A pair may
    occur more than once in a split.

    Attributes:
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the generator; another seed is another data set.
    """

    train_size: int = 6_000
    eval_size: int = 600
    seed: int = 0

    num_classes = 3

    def __post_init__(self) -> None:
        generated.check(self, train_size=1, eval_size=1, seed=0)

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        rng = generated.generator(self.seed, name)
        settings = np.random.default_rng(self.seed).permutation(len(SETTINGS))
        begin, end = (round(share * len(settings)) for share in SHARES[name])
        settings = settings[begin:end]
        weights = balanced_weights()
        pair = rng.choice(weights.size, size=size, p=weights.ravel())
        first, second, label = np.unravel_index(pair, weights.shape)
        here = rng.integers(len(settings), size=size)
        away = (label == 1) & (rng.random(size) < ELSEWHERE)
        there = (here + away * rng.integers(1, len(settings), size=size)) % len(settings)
        return InMemory(
            {
                "text": _texts(first, settings[here]),
                "text_pair": _texts(second, settings[there]),
                "label": label.astype(np.int32),
            }
        )


@functools.lru_cache
def balanced_weights() -> np.ndarray:
    """Probabilities [first form, second form, label] of pairs in one setting; 0 unless they have that label.

    Rescaled in turns until each form has the three labels with the same probability as the first and as the second.
    """
    entailed, contradicted = relations()
    weights = np.stack([entailed, ~entailed & ~contradicted, contradicted], axis=-1).astype(np.float64)
    weights *= np.where(np.eye(len(FORMS), dtype=bool), REPEATED, 1)[..., None]
    for _ in range(BALANCING):
        for axis in (1, 0):
            sums = np.maximum(weights.sum(axis=axis, keepdims=True), 1e-300)
            weights *= np.exp(np.log(sums).mean(axis=-1, keepdims=True)) / sums
        weights /= weights.sum()
    return weights


def relations() -> tuple[np.ndarray, np.ndarray]:
    """Whether the first form [24, 24] entails the second, and whether it contradicts it."""
    beings = list(itertools.product(range(3), range(3)))  # The smallest kind and deed that hold; deed 2 is neither.
    kind, deed = np.asarray(beings).T
    worlds = np.asarray(list(itertools.product([False, True], repeat=len(beings))))
    worlds = worlds[worlds[:, kind == 0].any(axis=1)]  # The smallest kind exists, and is of all others.
    truth = []
    for quantifier, largest, deed_of_form in FORMS:
        some_do = worlds[:, (kind <= largest) & (deed <= deed_of_form)].any(axis=1)
        some_do_not = worlds[:, (kind <= largest) & (deed > deed_of_form)].any(axis=1)
        truth.append({"all": ~some_do_not, "some": some_do, "no": ~some_do, "not all": some_do_not}[quantifier])
    first, second = np.asarray(truth)[:, None], np.asarray(truth)[None]
    return ~np.any(first & ~second, axis=-1), ~np.any(first & second, axis=-1)


def _texts(forms: np.ndarray, settings: np.ndarray) -> np.ndarray:
    texts = []
    for form, setting in zip(forms, settings, strict=True):
        (quantifier, kind, deed), (place, kinds, deeds) = FORMS[form], SETTINGS[setting]
        texts.append(f"in the {place} {quantifier} {kinds[kind]} {deeds[deed]}")
    return np.asarray(texts, object)
