"""Which animal "it" is follows from the story, and from nothing less."""

import numpy as np
import pytest

from train.data.sources import coreference
from train.data.sources.coreference import ANIMALS
from train.errors import UserError

SMALL = coreference.Source(train_size=400, eval_size=200)


def read(source, split):
    columns = source.split(split)[np.arange(len(source.split(split)))]
    return list(zip(columns["text"], columns["label"].tolist(), strict=True))


def answer(text: str) -> str:
    """Reads a story as a person does."""
    meeting, *_, seizing, question = text.split(" . ")
    words = meeting.split()
    named = [word for word in words if word in ANIMALS]
    hunter, prey = reversed(named) if "by" in words else named
    asked = question.split()[1]
    return hunter if f"with its {asked} " in seizing else prey


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_labels_are_the_animals_that_are_meant(split):
    for text, label in read(SMALL, split):
        assert ANIMALS[label] == answer(text)


def test_no_two_animals_meet_in_two_splits():
    met = {}
    for split in SMALL.splits():
        for text, _ in read(SMALL, split):
            pair = frozenset(word for word in text.split(" . ")[0].split() if word in ANIMALS)
            assert met.setdefault(pair, split) == split


def test_neither_place_nor_number_tells_the_answer():
    stories = read(coreference.Source(train_size=4000), "train")
    first = np.mean(
        [next(word for word in text.split() if word in ANIMALS) == ANIMALS[label] for text, label in stories]
    )
    assert first == pytest.approx(0.5, abs=0.03)
    counts = {text.count("nearby") for text, _ in stories}
    assert counts == {0, 1}
    assert {answer(text) for text, _ in stories} == set(ANIMALS)


def test_the_last_sentence_alone_names_no_animal():
    for text, _ in read(coreference.Source(whole=False, train_size=50), "train"):
        assert not set(text.split()) & set(ANIMALS)


def test_sizes_are_checked():
    with pytest.raises(UserError, match="train_size: 0 is less than 1"):
        coreference.Source(train_size=0)
