"""CKA against its formula, written with whole matrices, on planted features and on a network's layers."""

import jax
import numpy as np
import pytest

from tests.train.runs import fresh
from train import config as configs
from train.errors import UserError
from train.evaluators import cka
from train.experiment import build
from train.step import evaluated_variables

VIT = ["model.hidden_size=8", "model.num_heads=2", "model.mlp_size=16", "model.num_layers=2", "data.batch_size=50"]


def by_formula(first, second):
    """Eq. 3 of Nguyen et al. (2020), term by term."""
    count = len(first)
    one = np.ones(count)
    k, l = (x.astype(np.float64) @ x.T.astype(np.float64) for x in (first, second))  # noqa: E741 - as in the paper
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    terms = np.trace(k @ l), (one @ k @ one) * (one @ l @ one) / ((count - 1) * (count - 2))
    return (sum(terms) - 2 / (count - 2) * (one @ k @ l @ one)) / (count * (count - 3))


def by_formula_cka(batches, first, second):
    mean = lambda a, b: np.mean([by_formula(batch[a], batch[b]) for batch in batches])  # noqa: E731
    return mean(first, second) / np.sqrt(mean(first, first) * mean(second, second))


def planted(count=9):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(count, 5))
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    return {"values": values, "turned": 3 * values @ rotation + 7, "others": rng.normal(size=(count, 4))}


def test_hsic_is_the_formula():
    features = list(planted().values())
    found = cka.unbiased_hsic(np.stack([x @ x.T for x in features]))
    expected = [[by_formula(a, b) for b in features] for a in features]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_rotations_scales_and_shifts_change_nothing():
    values = cka.alignment(cka.unbiased_hsic(np.stack([x @ x.T for x in planted().values()])))
    assert values[0, 1] == pytest.approx(1)
    assert values[0, 2] == pytest.approx(values[1, 2])
    assert abs(values[0, 2]) < 0.9


def test_unrelated_features_have_nothing_in_common_on_average():
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(4000, 2, 6, 3))
    found = np.mean([cka.unbiased_hsic(x @ x.swapaxes(1, 2))[0, 1] for x in draws])
    biased = np.mean([np.trace(centred(x[0]) @ centred(x[1])) for x in draws]) / 25
    assert abs(found) < 0.1 < biased


def centred(x):
    x = x - x.mean(axis=0)
    return x @ x.T


def test_a_constant_layer_has_nothing_in_common():
    features = planted()["values"]
    grams = np.stack([features @ features.T, np.zeros((9, 9))])
    np.testing.assert_allclose(cka.alignment(cka.unbiased_hsic(grams)), [[1, 0], [0, 0]])


@pytest.fixture(scope="module")
def evaluation():
    return fresh(configs.load("configs/quickstart.py:vit", [*VIT, "evaluators.cka.split=test"]))


def test_layers_of_a_network_over_a_split(evaluation):
    """360 digits: seven batches of 50 and one of 10, filled up with rows that do not count."""
    experiment = evaluation.experiment
    evaluator = experiment.evaluators["cka"]
    numbers = evaluator.evaluate(evaluation)
    assert tuple(numbers) == evaluator.reports(experiment)
    assert len(numbers) == 15 + 2

    image = experiment.data.prepare(experiment.data.split("test")[np.arange(360)], "image")["image"]
    model, variables = experiment.model, evaluated_variables(evaluation.state)
    capture = jax.jit(lambda image: model.apply(variables, image, capture_intermediates=True)[1]["intermediates"])
    found = capture(image)
    layers = {
        "patches": found["patches"]["__call__"][0],
        "blocks.layer_1": found["blocks"]["layer_1"]["__call__"][0],
        "head": found["head"]["__call__"][0],
    }
    features = {name: np.asarray(value).reshape(360, -1) for name, value in layers.items()}
    cuts = np.split(np.arange(360), range(50, 360, 50))
    batches = [{name: value[cut] for name, value in features.items()} for cut in cuts]
    for first, second in (("patches", "blocks.layer_1"), ("patches", "head"), ("blocks.layer_1", "head")):
        expected = by_formula_cka(batches, first, second)
        assert numbers[f"cka/{first}/{second}"] == pytest.approx(expected, abs=1e-4)
    order = ("patches", "positions", "blocks.layer_0", "blocks.layer_1", "norm", "head")
    adjacent = [numbers[f"cka/{a}/{b}"] for a, b in zip(order, order[1:], strict=False)]
    assert numbers["cka_adjacent_mean"] == pytest.approx(np.mean(adjacent))
    assert numbers["cka_adjacent_spread"] == pytest.approx(np.std(adjacent))
    assert numbers["cka_adjacent_spread"] > 0.01


def test_mistakes():
    cases = {
        "evaluators.cka.layers=('patches', 'block')": "config.evaluators.cka.layers: there is no layer 'block'; did",
        "evaluators.cka.layers=('patches',)": "it takes two to compare, and there is only patches",
        "data.batch_size=3": "needs batches of 4 examples or more; .* config.data.batch_size is 3",
    }
    for flag, message in cases.items():
        with pytest.raises(UserError, match=message):
            build(configs.load("configs/quickstart.py:vit", [*VIT, "evaluators.cka.split=test", flag]))
