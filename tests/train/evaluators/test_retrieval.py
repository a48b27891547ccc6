"""Recall by its definition, on planted embeddings and on those of a model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.runs import fresh
from train import config as configs
from train.errors import Diverged, UserError
from train.evaluators import retrieval
from train.experiment import build
from train.step import evaluated_variables

SMALL = ["embedding_size=8", "image_hidden_size=16", "text_hidden_size=16", "num_image_layers=1", "num_text_layers=1"]
FLAGS = [*(f"model.{field}" for field in SMALL), "data.batch_size=50", "steps=1", "evaluators.retrieval.split=test"]


def by_definition(queries, candidates, kind, k):
    """Whether something right is among the first k of all candidates, a wrong one first where cosines are equal."""
    found = []
    for query, own in zip(queries, kind, strict=True):
        order = sorted(range(len(kind)), key=lambda i: (-(query @ candidates[i]), kind[i] == own))
        found.append(any(kind[i] == own for i in order[:k]))
    return np.asarray(found)


@pytest.mark.parametrize("rows", [1024, 7])
@pytest.mark.parametrize("k", [1, 5])
def test_counts_by_definition(k, rows, monkeypatch):
    monkeypatch.setattr(retrieval, "ROWS", rows)
    rng = np.random.default_rng(0)
    queries, candidates = rng.integers(-2, 3, size=(2, 30, 2)).astype(np.float32)  # many cosines are equal
    kind = rng.integers(12, size=30)
    better = retrieval.wrong_before_right(queries, candidates, kind)
    expected = by_definition(queries, candidates, kind, k)
    np.testing.assert_array_equal(better < k, expected)
    assert 0 < expected.mean() < 1


def test_pairs_that_fit_are_found_and_equal_embeddings_are_not():
    planted = np.eye(12, dtype=np.float32)
    assert not retrieval.wrong_before_right(planted, planted, np.arange(12)).any()
    alike = np.ones((12, 3), np.float32)
    np.testing.assert_array_equal(retrieval.wrong_before_right(alike, alike, np.arange(12)), 11)


@pytest.fixture(scope="module")
def evaluation():
    return fresh(configs.load("configs/captions.py:clip", FLAGS))


def test_is_over_the_whole_split(evaluation):
    """Captions of 360 digits, of which many are equal."""
    evaluator = evaluation.experiment.evaluators["retrieval"]
    numbers = evaluator.evaluate(evaluation)
    assert tuple(numbers) == evaluator.reports(evaluation.experiment)
    batch = evaluation.experiment.data.split("test")[np.arange(360)]
    variables = evaluated_variables(evaluation.state)
    apply = jax.jit(evaluation.experiment.model.apply, static_argnames="method")
    image = np.asarray(apply(variables, jnp.asarray(batch["image"]), method="encode_image"))
    tokens, mask = (jnp.asarray(batch[name]) for name in ("tokens", "mask"))
    text = np.asarray(apply(variables, tokens, mask, method="encode_text"))
    _, kind = np.unique(batch["tokens"], axis=0, return_inverse=True)
    assert kind.max() + 1 == 40
    for k in (5, 10):
        found = by_definition(image, text, kind, k), by_definition(text, image, kind, k)
        assert numbers[f"image_to_text_recall_{k}"] == pytest.approx(found[0].mean(), abs=0.01)  # rounding may swap two
        assert numbers[f"text_to_image_recall_{k}"] == pytest.approx(found[1].mean(), abs=0.01)
    draws = np.random.default_rng(0).permuted(np.tile(kind, (2000, 1)), axis=1)[:, :10]
    by_chance = np.mean([(draws == own).any(axis=1).mean() for own in kind])
    assert numbers["chance_recall_10"] == pytest.approx(by_chance, abs=0.01)


def test_an_embedding_that_is_not_finite_is_an_end(evaluation):
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), evaluation.state.params)
    measured = dataclasses.replace(evaluation, state=evaluation.state.replace(params=broken))
    with pytest.raises(Diverged, match="not finite"):
        evaluation.experiment.evaluators["retrieval"].evaluate(measured)


def test_mistakes():
    with pytest.raises(UserError, match="config.evaluators.retrieval: mlp does not embed images and texts"):
        build(configs.load("configs/quickstart.py:mlp", ["evaluators.retrieval.split=test"]))
