"""A verdict is what its decisive half says, and its words alone do not tell it."""

import dataclasses
from collections import defaultdict

import numpy as np
import pytest

from train.data.sources import tiny_sentiment
from train.errors import UserError

SMALL = tiny_sentiment.Source(train_size=500, eval_size=200)


def read(source: tiny_sentiment.Source, split: str = "train") -> list[tuple[str, int]]:
    examples = source.split(split)
    columns = examples[np.arange(len(examples))]
    return list(zip(columns["text"], columns["label"].tolist(), strict=True))


def verdict(text: str) -> int:
    decisive = text.split(" but ")[-1].split(" although ")[0].split(" even if ")[0].split()
    is_good = decisive[-1] in tiny_sentiment.GOOD
    return int(is_good if "not" not in decisive else not is_good)


def test_labels_are_the_verdicts():
    assert verdict("the plot is not dull but the cast is bad") == 0
    assert verdict("the plot is not dull although the cast is bad") == 1
    for text, label in read(SMALL):
        assert verdict(text) == label


def test_both_labels_are_as_common():
    labels = [label for _, label in read(dataclasses.replace(SMALL, train_size=4_000))]
    assert np.mean(labels) == pytest.approx(0.5, abs=0.03)


def test_the_same_words_may_say_the_opposite():
    labels = defaultdict(set)
    for text, label in read(dataclasses.replace(SMALL, train_size=15_000)):
        if " but " in text:
            labels[tuple(sorted(text.split()))].add(label)
    assert any(len(both) == 2 for both in labels.values())


def test_counting_words_is_better_than_chance_and_far_from_perfect():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    source = tiny_sentiment.Source()
    (texts, labels), (unseen, answers) = (zip(*read(source, split), strict=True) for split in ("train", "test"))
    counter = CountVectorizer()
    model = LogisticRegression(max_iter=500).fit(counter.fit_transform(texts), labels)
    assert 0.55 < model.score(counter.transform(unseen), answers) < 0.75


def test_no_text_occurs_twice():
    texts = [text for split in SMALL.splits() for text, _ in read(SMALL, split)]
    assert len(texts) == len(set(texts)) == 900


def test_examples_depend_on_the_seed_and_tests_not_on_the_training_size():
    assert read(SMALL, "test") == read(SMALL, "test") == read(dataclasses.replace(SMALL, train_size=10), "test")
    assert read(SMALL, "test") != read(dataclasses.replace(SMALL, seed=1), "test")


def test_says_when_there_are_too_few_examples(monkeypatch):
    monkeypatch.setattr(tiny_sentiment, "sentence", lambda rng: (f"film {rng.randrange(50)}", 1))
    with pytest.raises(UserError, match="50 different examples were found, and 900 are asked for"):
        SMALL.split("train")


@pytest.mark.parametrize("fields", [{"train_size": 0}, {"eval_size": 0}, {"seed": -1}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        tiny_sentiment.Source(**fields)
