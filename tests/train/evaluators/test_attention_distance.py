"""Distances of attention against values worked out by hand, and over a split of a Vision Transformer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.runs import fresh
from train import config as configs
from train.errors import UserError
from train.evaluators import attention_distance
from train.experiment import build
from train.step import evaluated_variables

VIT = ["model.hidden_size=8", "model.num_heads=2", "model.mlp_size=16", "model.num_layers=2", "data.batch_size=50"]
PATCHES = 16  # Four rows and columns of 2×2 pixels.


def test_a_grid_by_hand():
    """Two rows of two patches: neighbours at 1, across at √2."""
    across = 2**0.5
    expected = [[0, 1, 1, across], [1, 0, across, 1], [1, across, 0, 1], [across, 1, 1, 0]]
    np.testing.assert_allclose(attention_distance.grid_distances(2, 2), expected, rtol=1e-6)


def test_heads_by_hand():
    """One head looks at itself, one to the right of two patches in a row, one half here and half there."""
    distances = jnp.asarray(attention_distance.grid_distances(1, 2))
    weights = jnp.asarray([[[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0.5, 0.5], [0.25, 0.75]]]])
    np.testing.assert_allclose(attention_distance.mean_distance(weights, distances), [[0, 1, 0.375]])


def test_a_class_token_is_left_out():
    """It stands first; what remains of each patch's attention counts as the whole."""
    distances = jnp.asarray(attention_distance.grid_distances(1, 2))
    weights = jnp.asarray([[[[1, 0, 0], [0.5, 0.25, 0.25], [0.8, 0.1, 0.1]]]])
    np.testing.assert_allclose(attention_distance.mean_distance(weights, distances), [[0.5]])


@pytest.fixture(scope="module", params=["mean", "token"])
def evaluation(request):
    flags = [*VIT, "model.patch_size=2", f"model.pool={request.param}", "evaluators.attention_distance.split=test"]
    return fresh(configs.load("configs/quickstart.py:vit", flags))


def test_every_head_over_a_split(evaluation):
    experiment = evaluation.experiment
    evaluator = experiment.evaluators["attention_distance"]
    numbers = evaluator.evaluate(evaluation)
    assert tuple(numbers) == evaluator.reports(experiment)
    places = [(i, j) for i in range(4) for j in range(4)]
    far = np.asarray([[np.hypot(a - c, b - d) for c, d in places] for a, b in places])
    assert numbers["attention_distance_uniform"] == pytest.approx(far.mean(), rel=1e-6)

    image = experiment.data.prepare(experiment.data.split("test")[np.arange(360)], "image")["image"]
    model, variables = experiment.model, evaluated_variables(evaluation.state)
    sown = jax.jit(lambda image: model.apply(variables, image, mutable=["intermediates"])[1]["intermediates"])(image)
    heads = []
    for layer in range(2):
        weights = np.asarray(sown["blocks"][f"layer_{layer}"]["attention"]["mixer"]["weights"][0])
        patches = weights[..., -PATCHES:, -PATCHES:]
        share = patches / patches.sum(axis=-1, keepdims=True)
        heads += (share * far).sum(axis=-1).mean(axis=(0, 2)).tolist()
    named = [f"attention_distance/blocks.layer_{layer}/head_{head}" for layer in range(2) for head in range(2)]
    assert [numbers[name] for name in named] == pytest.approx(heads, abs=1e-4)
    assert len(set(np.round(heads, 4))) == 4, "heads differ, so that mixing them up would show"
    assert numbers["attention_distance_spread"] == pytest.approx(np.std(heads), abs=1e-5)


def test_without_a_difference_between_keys_attention_is_uniform(evaluation):
    """All queries are zero, so every key gets the same weight."""
    state = evaluation.state
    without = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "query" in jax.tree_util.keystr(path) else leaf, state.params
    )
    silent = type(evaluation)(**{**vars(evaluation), "state": state.replace(params=without)})
    numbers = evaluation.experiment.evaluators["attention_distance"].evaluate(silent)
    assert numbers["attention_distance_spread"] == pytest.approx(0, abs=1e-5)
    uniform = pytest.approx(numbers["attention_distance_uniform"], rel=1e-5)
    assert numbers["attention_distance/blocks.layer_1/head_1"] == uniform


@pytest.mark.parametrize(
    ("config", "flag", "message"),
    [
        ("lenet", "steps=1", "config.evaluators.attention_distance: lenet does not attend to patches"),
        ("vit", "model.mixer=performer", "the mixer performer makes no weights of attention; dense and synthesizer"),
    ],
)
def test_mistakes(config, flag, message):
    with pytest.raises(UserError, match=message):
        build(configs.load(f"configs/quickstart.py:{config}", [flag, "evaluators.attention_distance.split=test"]))
