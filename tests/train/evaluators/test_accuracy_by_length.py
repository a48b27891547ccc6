"""Accuracy of the short and of the long, against one forward pass over all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.runs import fresh, small
from train import config as configs
from train.errors import UserError
from train.experiment import build
from train.step import evaluated_variables

LISTS = [
    *("data.source.min_length=4", "data.source.max_length=20", "data.source.train_size=32", "data.batch_size=16"),
    *("data.source.eval_size=50", "data.layout.max_length=22", "model.max_length=22", "model.num_layers=1", "steps=1"),
    "evaluators.accuracy_by_length.split=test",
]


def test_quarters_are_those_of_the_lengths():
    measured = fresh(configs.load("configs/lra.py:listops:embedded", LISTS))
    evaluator = measured.experiment.evaluators["accuracy_by_length"]
    found = evaluator.evaluate(measured)
    assert tuple(found) == evaluator.reports(measured.experiment)
    examples = measured.experiment.data.split("test")[np.arange(50)]
    inputs = jax.tree.map(jnp.asarray, measured.experiment.model_inputs(examples))
    logits = measured.experiment.model.apply(evaluated_variables(measured.state), **inputs, train=False)
    is_right = np.argmax(np.asarray(logits), -1) == examples["label"]
    lengths = examples["mask"].sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    for number, part in enumerate(np.array_split(order, 4), 1):
        assert found[f"accuracy_length_{number}"] == pytest.approx(is_right[part].mean(), abs=1e-6)
        assert found[f"length_{number}"] == pytest.approx(lengths[part].mean())
    assert found["length_1"] < found["length_4"]


def test_data_of_one_length_are_refused():
    with pytest.raises(UserError, match="accuracy_by_length: the data have no mask"):
        build(small("evaluators.accuracy_by_length.split=test"))


def test_a_split_of_few_examples_has_no_quarters():
    with pytest.raises(UserError, match="accuracy_by_length: the split 'test' has too few examples"):
        build(configs.load("configs/lra.py:listops:embedded", [*LISTS, "data.source.eval_size=3"]))
