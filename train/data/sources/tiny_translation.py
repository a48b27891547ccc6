"""Sentences of a toy English and their translations to a toy German: stands in for a corpus of translations.

German puts its verbs elsewhere: second after an adverb, participles at the end, and the verb of a clause with `weil`
last of all. Its articles and adjectives agree with the gender of a noun, which English does not tell, and with its
case: so a word's translation hangs on words that stand far from it.
"""

import dataclasses
import random
from typing import NamedTuple

from train.data import generated
from train.data.arrays import InMemory


class Noun(NamedTuple):
    english: str
    gender: str
    german: str


class Verb(NamedTuple):
    present: str
    participle: str
    german_present: str
    german_participle: str


NOUNS = (
    Noun("man", "m", "Mann"),
    Noun("dog", "m", "Hund"),
    Noun("bird", "m", "Vogel"),
    Noun("teacher", "m", "Lehrer"),
    Noun("woman", "f", "Frau"),
    Noun("cat", "f", "Katze"),
    Noun("cow", "f", "Kuh"),
    Noun("girl", "n", "Mädchen"),
    Noun("child", "n", "Kind"),
    Noun("horse", "n", "Pferd"),
)
VERBS = (
    Verb("sees", "seen", "sieht", "gesehen"),
    Verb("hears", "heard", "hört", "gehört"),
    Verb("finds", "found", "findet", "gefunden"),
    Verb("loves", "loved", "liebt", "geliebt"),
    Verb("paints", "painted", "malt", "gemalt"),
    Verb("washes", "washed", "wäscht", "gewaschen"),
)
WITHOUT_OBJECT = (
    Verb("sings", "sung", "singt", "gesungen"),
    Verb("sleeps", "slept", "schläft", "geschlafen"),
    Verb("dances", "danced", "tanzt", "getanzt"),
)
ADJECTIVES = (
    ("big", "groß"),
    ("small", "klein"),
    ("young", "jung"),
    ("happy", "froh"),
    ("wise", "klug"),
    ("good", "gut"),
)
ADVERBS = (("today", "heute"), ("here", "hier"), ("now", "jetzt"), ("perhaps", "vielleicht"))
# The German article and the ending of an adjective after it, by English article and gender.
AGREEMENT = {
    "the": {"m": ("der", "e"), "f": ("die", "e"), "n": ("das", "e")},
    "a": {"m": ("ein", "er"), "f": ("eine", "e"), "n": ("ein", "es")},
}
MASCULINE_OBJECT = {"the": ("den", "en"), "a": ("einen", "en")}  # The only gender whose objects differ from subjects.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives texts `source` (English) and `target` (German), of 3 to 18 words. No pair occurs twice.

    Attributes:
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the generator; another seed is another data set.
    """

    train_size: int = 10_000
    eval_size: int = 500
    seed: int = 0

    num_classes = None

    def __post_init__(self) -> None:
        generated.check(self, train_size=1, eval_size=1, seed=0)

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        return InMemory(generated.columns(generated.different(self, sentence, name), "source", "target"))


def sentence(rng: random.Random) -> tuple[str, str]:
    """A random sentence in both languages."""
    english, german = _clause(rng, is_subordinate=False)
    if rng.random() < 0.4:
        reason, grund = _clause(rng, is_subordinate=True)
        english += ["because", *reason]
        german = [*german[:-1], german[-1] + ",", "weil", *grund]
    return " ".join(english), " ".join(german)


def _clause(rng: random.Random, *, is_subordinate: bool) -> tuple[list[str], list[str]]:
    subject, german_subject = _noun_phrase(rng, is_object=False)
    if rng.random() < 0.75:
        verb, (object_, german_object) = rng.choice(VERBS), _noun_phrase(rng, is_object=True)
    else:
        verb, (object_, german_object) = rng.choice(WITHOUT_OBJECT), ([], [])
    is_perfect = rng.random() < 0.4
    english = [*subject, *(["has", verb.participle] if is_perfect else [verb.present]), *object_]
    finite, participle = ("hat", [verb.german_participle]) if is_perfect else (verb.german_present, [])
    if is_subordinate:
        return english, [*german_subject, *german_object, *participle, finite]
    if rng.random() < 0.4:
        adverb, german_adverb = rng.choice(ADVERBS)
        return [adverb, *english], [german_adverb, finite, *german_subject, *german_object, *participle]
    return english, [*german_subject, finite, *german_object, *participle]


def _noun_phrase(rng: random.Random, *, is_object: bool) -> tuple[list[str], list[str]]:
    article, noun = rng.choice(tuple(AGREEMENT)), rng.choice(NOUNS)
    is_changed = is_object and noun.gender == "m"
    german_article, ending = MASCULINE_OBJECT[article] if is_changed else AGREEMENT[article][noun.gender]
    if rng.random() < 0.5:
        return [article, noun.english], [german_article, noun.german]
    adjective, german_adjective = rng.choice(ADJECTIVES)
    return [article, adjective, noun.english], [german_article, german_adjective + ending, noun.german]
