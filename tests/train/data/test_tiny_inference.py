"""Labels hold in worlds that are drawn at random, and no sentence tells one alone."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from train.data.sources import tiny_inference
from train.data.sources.tiny_inference import DEEDS, KINDS, PLACES
from train.errors import UserError

SMALL = tiny_inference.Source(train_size=300, eval_size=100)


def read(source: tiny_inference.Source, split: str = "train") -> list[tuple[str, str, int]]:
    examples = source.split(split)
    columns = examples[np.arange(len(examples))]
    return list(zip(columns["text"], columns["text_pair"], columns["label"].tolist(), strict=True))


class World:
    """What beings are where, and which of them do what, drawn at random; all kinds are everywhere."""

    def __init__(self, rng: np.random.Generator):
        self.beings: dict[str, list[tuple[set[str], set[str]]]] = {}
        often = rng.choice([0.1, 0.5, 0.9], size=2)
        for place in PLACES:
            self.beings[place] = [being for kinds in KINDS for being in self.of_a_kind(rng, kinds, often)]

    def of_a_kind(self, rng, kinds, often) -> list[tuple[set[str], set[str]]]:
        smallest = [0, *rng.integers(3, size=rng.integers(3))]
        return [(set(kinds[kind:]), self.deeds(rng, often)) for kind in smallest]

    def deeds(self, rng, often) -> set[str]:
        done = set()
        for strong, weak in DEEDS:
            if rng.random() < often[0]:
                done |= {weak} | ({strong} if rng.random() < often[1] else set())
        return done

    def holds(self, sentence: str) -> bool:
        _, _, place, *words = sentence.split()
        negated = words[:2] == ["not", "all"]
        quantifier, kind, *deed = words[1:] if negated else words
        of_kind = [" ".join(deed) in done for kinds, done in self.beings[place] if kind in kinds]
        assert of_kind, "there is one of every kind"
        truth = {"all": all(of_kind), "some": any(of_kind), "no": not any(of_kind)}[quantifier]
        return truth != negated


def test_labels_hold_in_random_worlds():
    rng = np.random.default_rng(0)
    worlds = [World(rng) for _ in range(150)]
    undecided = 0
    examples = read(SMALL)
    for first, second, label in examples:
        outcomes = {world.holds(second) for world in worlds if world.holds(first)}
        if label == 0:
            assert outcomes <= {True}
        elif label == 2:
            assert outcomes <= {False}
        else:
            undecided += outcomes != {True, False}  # a world may be missing that shows it
    assert undecided < 0.2 * len(examples) / 3


@pytest.mark.parametrize(
    "first, second, label",
    [
        (("all", 1, 0), ("some", 2, 1), "entailed"),
        (("all", 1, 0), ("all", 0, 1), "entailed"),
        (("no", 2, 1), ("not all", 0, 0), "entailed"),
        (("some", 0, 0), ("no", 2, 1), "contradicted"),
        (("all", 2, 0), ("not all", 0, 1), "contradicted"),
        (("all", 0, 0), ("all", 1, 0), "neither"),
        (("some", 2, 1), ("some", 2, 0), "neither"),
        (("not all", 1, 0), ("some", 1, 0), "neither"),
    ],
)
def test_relations_of_syllogisms(first, second, label):
    pair = tiny_inference.FORMS.index(first), tiny_inference.FORMS.index(second)
    entailed, contradicted = (relation[pair] for relation in tiny_inference.relations())
    assert (entailed, contradicted) == (label == "entailed", label == "contradicted")


def test_weights_give_every_form_all_labels_alike():
    weights = tiny_inference.balanced_weights()
    assert weights.sum() == pytest.approx(1)
    for axis in (0, 1):
        sums = weights.sum(axis=axis)
        np.testing.assert_allclose(sums, np.broadcast_to(sums.mean(axis=1, keepdims=True), sums.shape), atol=1e-9)
    assert np.sum(weights.sum(axis=(1, 2)) > 1e-3) >= 16, "of the forms most occur"


@pytest.mark.parametrize("column", [0, 1])
def test_no_sentence_tells_the_label_alone(column):
    examples = read(dataclasses.replace(SMALL, train_size=6_000))
    texts, labels = [example[column] for example in examples], [example[2] for example in examples]
    assert stats.chisquare(np.bincount(labels)).pvalue > 1e-3
    words = [set(text.split()) - {"in", "the"} for text in texts]
    quantifiers = [" ".join(sorted(some & {"all", "some", "no", "not"})) for some in words]
    told = [quantifiers, *([word in some for some in words] for word in sorted(set.union(*words)))]
    pvalues = [stats.chi2_contingency(stats.contingency.crosstab(one, labels).count).pvalue for one in told]
    assert min(pvalues) > 1e-3 / len(pvalues)


def test_a_model_of_one_sentence_is_at_chance():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    source = tiny_inference.Source()
    train, test = read(source), read(source, "test")
    for column in (0, 1):
        counter = CountVectorizer(ngram_range=(1, 3))
        seen = counter.fit_transform([example[column] for example in train])
        model = MultinomialNB().fit(seen, [example[2] for example in train])
        unseen = counter.transform([example[column] for example in test])
        assert model.score(unseen, [example[2] for example in test]) < 0.40


def test_no_pair_is_in_two_splits():
    splits = [{example[:2] for example in read(SMALL, split)} for split in SMALL.splits()]
    assert not any(one & other for one, other in itertools.combinations(splits, 2))


def test_examples_depend_on_seed_and_split_alone():
    assert read(SMALL, "test") == read(SMALL, "test") == read(dataclasses.replace(SMALL, train_size=10), "test")
    assert read(SMALL, "test") != read(dataclasses.replace(SMALL, seed=1), "test")


@pytest.mark.parametrize("fields", [{"train_size": 0}, {"eval_size": 0}, {"seed": -1}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        tiny_inference.Source(**fields)
