"""ListOps follows its generator's rules, and its labels are what a separate evaluator computes."""

import dataclasses
import statistics
from collections import Counter

import numpy as np
import pytest

from train.data.sources import listops
from train.errors import UserError

OPERATIONS = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda values: int(statistics.median(values)),
    "[SM": lambda values: sum(values) % 10,
}
SHORT = listops.Source(min_length=4, max_length=60, train_size=1_000, eval_size=200)


def parse(text: str) -> list:
    """An expression as nested lists, the operation first."""
    open_lists: list[list] = [[]]
    for token in text.split():
        if token in OPERATIONS:
            open_lists.append([token])
        elif token == "]":
            open_lists[-2].append(open_lists.pop())
        else:
            open_lists[-1].append(int(token))
    ((expression,),) = open_lists
    return expression


def value(expression) -> int:
    if isinstance(expression, int):
        return expression
    operation, *arguments = expression
    return OPERATIONS[operation]([value(argument) for argument in arguments])


def depth(expression) -> int:
    return 1 if isinstance(expression, int) else 1 + max(depth(argument) for argument in expression[1:])


def read(source: listops.Source, split: str) -> tuple[list[str], list[int]]:
    examples = source.split(split)
    columns = examples[np.arange(len(examples))]
    return list(columns["text"]), list(columns["label"])


def test_the_evaluator_on_examples_of_its_own():
    assert value(parse("[MAX 2 9 [MIN 4 7 ] 0 ]")) == 9
    assert value(parse("[SM 5 6 [MED 1 2 8 9 ] ]")) == 6


@pytest.mark.parametrize("fields", [{}, {"max_depth": 4, "max_args": 3}, {"min_length": 300, "max_length": 700}])
def test_labels_are_the_values(fields):
    source = dataclasses.replace(SHORT, **{"max_length": 200, **fields}, train_size=300)
    texts, labels = read(source, "train")
    assert len(texts) == 300
    for text, label in zip(texts, labels, strict=True):
        expression = parse(text)
        assert value(expression) == label
        assert source.min_length <= len(text.split()) <= source.max_length
        assert 2 <= depth(expression) <= source.max_depth


def test_trees_grow_by_the_generators_rules():
    wide = listops.Source(max_depth=3, max_args=6, min_length=4, max_length=10_000, train_size=2_000, eval_size=1)
    expressions = [parse(text) for text in read(wide, "train")[0]]
    arguments = [argument for expression in expressions for argument in expression[1:]]
    assert np.mean([isinstance(argument, list) for argument in arguments]) == pytest.approx(0.25, abs=0.02)
    operations = Counter(expression[0] for expression in expressions)
    assert all(count / 2_000 == pytest.approx(1 / 4, abs=0.04) for count in operations.values())
    counts = Counter(len(argument) - 1 for argument in arguments if isinstance(argument, list))
    assert sorted(counts) == [2, 3, 4, 5, 6]
    assert all(count / counts.total() == pytest.approx(1 / 5, abs=0.04) for count in counts.values())


def test_every_value_is_common():
    shares = np.bincount(read(SHORT, "train")[1]) / 1_000
    assert len(shares) == 10 and shares.min() > 0.05 and shares.max() < 0.2


def test_no_expression_occurs_twice():
    texts = [text for split in SHORT.splits() for text in read(SHORT, split)[0]]
    assert len(texts) == len(set(texts)) == 1_400


def test_examples_depend_on_the_seed_and_tests_not_on_the_training_size():
    listops._expressions.cache_clear()
    first = read(SHORT, "test")
    listops._expressions.cache_clear()
    assert read(SHORT, "test") == first
    assert read(dataclasses.replace(SHORT, train_size=10), "test") == first
    assert read(dataclasses.replace(SHORT, seed=1), "test") != first


@pytest.mark.parametrize(
    "fields", [{"max_depth": 1}, {"max_args": 1}, {"min_length": 3}, {"max_length": 500}, {"train_size": 0}]
)
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        listops.Source(**fields)


def test_says_when_there_are_too_few_expressions():
    shortest = listops.Source(min_length=4, max_length=4, train_size=500, eval_size=10)
    with pytest.raises(UserError, match="400 different expressions of 4 to 4 tokens were found, and 520 are asked for"):
        shortest.split("train")
