"""The copying memory task is what its papers describe."""

import dataclasses

import numpy as np
import pytest

from archs import build
from train.data.sources import copy_memory
from train.errors import UserError


def test_copy_memory_repeats_its_symbols_when_asked():
    examples = copy_memory.Source(blanks=7, train_size=50).split("train")[np.arange(50)]
    sequence, label = examples["sequence"][..., 0], examples["label"]
    assert sequence.shape == label.shape == (50, 27)
    assert set(np.unique(sequence[:, :10])) == set(range(1, 9))
    assert not sequence[:, 10:16].any() and np.all(sequence[:, 16:] == 9)
    assert not label[:, :17].any()
    np.testing.assert_array_equal(label[:, 17:], sequence[:, :10])


def test_tokens_are_the_same_numbers_and_a_longer_split_has_the_symbols_of_the_test():
    numbers = copy_memory.Source(blanks=4, eval_size=20)
    source = dataclasses.replace(numbers, form="tokens", longer_blanks=9)
    assert numbers.splits() == ("train", "validation", "test") and source.splits()[3:] == ("longer",)
    assert numbers.vocab_sizes == {} and source.vocab_sizes == {"vocab_size": 10}
    test, longer = source.split("test").arrays, source.split("longer").arrays
    np.testing.assert_array_equal(test["tokens"], numbers.split("test").arrays["sequence"][..., 0])
    np.testing.assert_array_equal(test["label"][:, -10:], longer["label"][:, -10:])
    assert longer["tokens"].shape == longer["label"].shape == (20, 29)
    with pytest.raises(UserError, match="config.data.source.longer_blanks: 0 is less than 1"):
        copy_memory.Source(longer_blanks=0)


@pytest.mark.parametrize("blanks", [1, 30])
def test_chance_is_the_entropy_of_labels_without_memory(blanks):
    source = copy_memory.Source(blanks=blanks, train_size=20_000)
    label = source.split("train")[np.arange(20_000)]["label"]
    shares = np.stack([(label == symbol).mean(axis=0) for symbol in range(source.num_classes)])
    entropy = -np.sum(shares * np.log(np.where(shares > 0, shares, 1)), axis=0)
    assert entropy.mean() == pytest.approx(source.chance_loss, rel=1e-3)


def test_chance_of_the_published_length():
    assert copy_memory.Source(blanks=1000).chance_loss == pytest.approx(0.02039, abs=5e-6)


@pytest.mark.parametrize("name, fields", [("tcn", {"variant": "copy_memory"}), ("rnn", {"outputs": "all"})])
def test_models_of_every_step_read_copy_memory(name, fields):
    import jax

    source = copy_memory.Source(blanks=7, train_size=2)
    examples = source.split("train")[np.arange(2)]
    model = build(name, num_classes=source.num_classes, **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), examples["sequence"])
    if name == "tcn":
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 12_530, "the paper's size"
    logits = jax.eval_shape(model.apply, shapes, examples["sequence"])
    assert logits.shape == (*examples["label"].shape, 10)


@pytest.mark.parametrize("source", [copy_memory.Source(blanks=3, train_size=20, eval_size=20)])
def test_examples_depend_on_seed_and_split_alone(source):
    for split in source.splits():
        first, again = (source.split(split)[np.arange(20)] for _ in range(2))
        other = dataclasses.replace(source, seed=1).split(split)[np.arange(20)]
        for key, value in first.items():
            np.testing.assert_array_equal(value, again[key])
        assert any(np.any(value != other[key]) for key, value in first.items())
    train, test = (source.split(split)[np.arange(20)] for split in ("train", "test"))
    assert any(np.any(value != test[key]) for key, value in train.items())


@pytest.mark.parametrize("fields", [{"blanks": 0}, {"train_size": 0}, {"eval_size": 0}, {"seed": -1}])
def test_copy_memory_refuses_what_it_cannot_make(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        copy_memory.Source(**fields)
