"""Strings aⁿbⁿ, and what of them can be predicted."""

import numpy as np
import pytest

from train.data.sources import counting
from train.errors import UserError

LETTERS = np.asarray(["", "a", "b", "$"])


def test_after_every_b_the_label_says_what_follows():
    examples = counting.Source(max_count=2, max_test_count=3).split("test")[np.arange(3)]
    assert ["".join(LETTERS[row]) for row in examples["tokens"]] == ["ab", "aabb", "aaabbb"]
    assert examples["tokens"].shape == (3, 6), "the largest n of the split"
    labels = np.where(examples["label_mask"], LETTERS[examples["label"]], ".")
    assert ["".join(row) for row in labels] == [".$....", "..b$..", "...bb$"]
    assert np.array_equal(examples["label_mask"], examples["tokens"] == counting.B)


def test_training_has_every_count_up_to_the_largest_and_the_other_splits_each_once():
    source = counting.Source(max_count=5, max_test_count=9, train_size=1_000)
    counts = {name: source.split(name).arrays["label_mask"].sum(axis=1) for name in source.splits()}
    assert np.bincount(counts["train"])[1:].tolist() == pytest.approx([200] * 5, abs=50)
    assert counts["validation"].tolist() == counts["test"].tolist() == list(range(1, 10))


def test_the_seed_changes_the_order_of_training_and_nothing_else():
    first, again, other = (counting.Source(train_size=50, seed=seed) for seed in (0, 0, 1))
    tokens = [source.split("train").arrays["tokens"] for source in (first, again, other)]
    assert np.array_equal(tokens[0], tokens[1]) and not np.array_equal(tokens[0], tokens[2])
    assert np.array_equal(first.split("test").arrays["tokens"], other.split("test").arrays["tokens"])


@pytest.mark.parametrize("fields", [{"max_count": 0}, {"max_test_count": 0}, {"train_size": 0}, {"seed": -1}])
def test_refuses_what_it_cannot_make(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        counting.Source(**fields)
