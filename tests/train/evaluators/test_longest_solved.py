"""A length is solved if nothing of it, and nothing shorter, has an error."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from tests.train.runs import fresh
from train import config as configs
from train.data.sources import counting
from train.errors import UserError
from train.evaluators import longest_solved
from train.experiment import build


@pytest.mark.parametrize(
    "wrong, expected",
    [((), 5), ((1,), 0), ((3,), 2), ((4, 5), 3)],
)
def test_an_error_ends_what_is_solved(wrong, expected):
    length = np.asarray([3, 1, 4, 2, 5])
    assert longest_solved.longest(~np.isin(length, wrong), length) == expected


def test_one_of_several_examples_of_a_length_is_enough():
    length, is_right = np.asarray([1, 2, 2, 3]), np.asarray([True, True, False, True])
    assert longest_solved.longest(is_right, length) == 1


COUNTING = ["model.hidden_size=8", "data.source.max_test_count=5", "data.batch_size=3"]


def test_only_places_that_count_are_judged(monkeypatch):
    """Of a model that counts to 3, and says b wherever nothing is asked."""

    def apply(model, variables, tokens, train):
        a, b = (jnp.cumsum(tokens == letter, axis=1) for letter in (counting.A, counting.B))
        return jax.nn.one_hot(jnp.where((a == b) & (a <= 3), counting.END, counting.B), 4)

    measured = fresh(configs.load("configs/memory.py:counting_gru", COUNTING))
    monkeypatch.setattr(type(measured.experiment.model), "apply", apply)
    numbers = measured.experiment.evaluators["longest_solved"].evaluate(measured)
    assert numbers == {"solved": pytest.approx(3 / 5), "longest_solved": 3.0}


def test_data_without_places_that_count_are_refused():
    config = configs.load("configs/quickstart.py:mlp", ["evaluators.longest_solved.split=test"])
    with pytest.raises(UserError, match=r"config.evaluators.longest_solved: the data have no label_mask"):
        build(config)
