"""The toy German says what the toy English says, in German order and agreement."""

import dataclasses

import numpy as np
import pytest

from train.data.sources import tiny_translation
from train.data.sources.tiny_translation import ADJECTIVES, ADVERBS, NOUNS, VERBS, WITHOUT_OBJECT
from train.errors import UserError

SMALL = tiny_translation.Source(train_size=500, eval_size=100)
ALL_VERBS = (*VERBS, *WITHOUT_OBJECT)
GENDERS = {noun.german: noun.gender for noun in NOUNS}
PARTICIPLES = {verb.german_participle for verb in ALL_VERBS}
FINITE = {"hat", *(verb.german_present for verb in ALL_VERBS)}
# Article, ending of an adjective, gender.
FEMININE_AND_NEUTER = {("die", "e", "f"), ("das", "e", "n"), ("eine", "e", "f"), ("ein", "es", "n")}
NOMINATIVE = {("der", "e", "m"), ("ein", "er", "m")} | FEMININE_AND_NEUTER
ACCUSATIVE = {("den", "en", "m"), ("einen", "en", "m")} | FEMININE_AND_NEUTER


def pairs(source: tiny_translation.Source, split: str = "train") -> list[tuple[str, str]]:
    examples = source.split(split)
    columns = examples[np.arange(len(examples))]
    return list(zip(columns["source"], columns["target"], strict=True))


@pytest.mark.parametrize(
    "english, german",
    [
        ("the man sees the dog", "der Mann sieht den Hund"),
        ("today a young woman has heard a big cow", "heute hat eine junge Frau eine große Kuh gehört"),
        ("a dog has slept because the girl sings", "ein Hund hat geschlafen, weil das Mädchen singt"),
        (
            "the child sings because a wise man has loved a good horse",
            "das Kind singt, weil ein kluger Mann ein gutes Pferd geliebt hat",
        ),
    ],
)
def test_sentences_whose_translation_is_known(english, german):
    assert translated(english) == german


def translated(english: str) -> str:
    """A translator written for the test: by rules for whole clauses, from the English side alone."""
    main, because, reason = english.partition(" because ")
    german = clause(main.split(), is_subordinate=False)
    return f"{german}, weil {clause(reason.split(), is_subordinate=True)}" if because else german


def clause(words: list[str], is_subordinate: bool) -> str:
    adverb = [dict(ADVERBS)[words.pop(0)]] if words[0] in dict(ADVERBS) else []
    present = {verb.present: verb.german_present for verb in ALL_VERBS}
    participles = {verb.participle: verb.german_participle for verb in ALL_VERBS}
    place = next(i for i, word in enumerate(words) if word in present or word == "has")
    is_perfect = words[place] == "has"
    finite = "hat" if is_perfect else present[words[place]]
    last = [participles[words[place + 1]]] if is_perfect else []
    subject, object_ = phrase(words[:place], "n"), phrase(words[place + 1 + is_perfect :], "a")
    if is_subordinate:
        order = [*subject, *object_, *last, finite]
    else:
        order = [*adverb, finite, *subject, *object_, *last] if adverb else [*subject, finite, *object_, *last]
    return " ".join(order)


def phrase(words: list[str], case: str) -> list[str]:
    if not words:
        return []
    noun = next(noun for noun in NOUNS if noun.english == words[-1])
    agreeing = NOMINATIVE if case == "n" else ACCUSATIVE
    articles = ("der", "die", "das", "den") if words[0] == "the" else ("ein", "eine", "einen")
    ((article, ending),) = [(a, e) for a, e, gender in agreeing if gender == noun.gender and a in articles]
    adjectives = [dict(ADJECTIVES)[word] + ending for word in words[1:-1]]
    return [article, *adjectives, noun.german]


def test_all_translations_are_those_of_another_translator():
    for english, german in pairs(SMALL):
        assert german == translated(english)


def test_words_move_and_lengths_vary():
    sentences = pairs(SMALL)
    lengths = {len(text.split()) for pair in sentences for text in pair}
    assert min(lengths) == 3 and 15 <= max(lengths) <= 18
    subordinate = [german.split(", weil ")[1].split() for _, german in sentences if ", weil " in german]
    assert len(subordinate) > 100 and all(words[-1] in FINITE for words in subordinate)
    perfect = [
        german.split(",")[0].split() for english, german in sentences if " has " in english.split(" because ")[0]
    ]
    assert len(perfect) > 100 and all(words[-1] in PARTICIPLES for words in perfect)
    assert set(GENDERS.values()) == {"m", "f", "n"}


def test_no_pair_occurs_twice():
    everything = [pair for split in SMALL.splits() for pair in pairs(SMALL, split)]
    assert len(everything) == len(set(everything)) == 700


def test_examples_depend_on_the_seed_and_tests_not_on_the_training_size():
    assert pairs(SMALL, "test") == pairs(SMALL, "test") == pairs(dataclasses.replace(SMALL, train_size=10), "test")
    assert pairs(SMALL, "test") != pairs(dataclasses.replace(SMALL, seed=1), "test")


@pytest.mark.parametrize("fields", [{"train_size": 0}, {"eval_size": 0}, {"seed": -1}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        tiny_translation.Source(**fields)
