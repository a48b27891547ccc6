"""A modality that says nothing, in networks of which it is known what they then say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.runs import fresh, small
from train import config as configs
from train.errors import UserError
from train.evaluators.modality_corruption import noise
from train.experiment import build
from train.step import evaluated_variables

SMALL = [
    *("model.hidden_sizes=(8,)", "model.num_layers=1", "model.num_heads=2", "model.mlp_size=8", "data.batch_size=32"),
    *("data.source.train_size=32", "data.source.eval_size=80", "steps=1", "evaluators.modality_corruption.seed=3"),
]


@pytest.fixture(scope="module")
def measured():
    return fresh(configs.load("configs/fusion_digits.py:late:embedded", SMALL))


def predicted(measured, **missing):
    """Accuracy of the network where it is not given some of its inputs."""
    data = measured.experiment.data
    examples = data.prepare(data.split("test")[np.arange(80)], measured.experiment.view)
    inputs = jax.tree.map(jnp.asarray, measured.experiment.model_inputs(examples)) | missing
    logits = measured.experiment.model.apply(evaluated_variables(measured.state), **inputs, train=False)
    return float(np.mean(np.argmax(logits, -1) == examples["label"]))


def test_what_is_masked_is_missing(measured):
    evaluator = measured.experiment.evaluators["modality_corruption"]
    found = evaluator.evaluate(measured)
    assert tuple(found) == evaluator.reports(measured.experiment)
    assert found["accuracy_image_masked"] == pytest.approx(predicted(measured, image=None, image_mask=None))
    assert found["accuracy_sequence_masked"] == pytest.approx(
        predicted(measured, sequence=None, sequence_mask=None), abs=1e-6
    )


def test_noise_in_what_is_not_looked_at_changes_nothing(measured):
    params = measured.state.params
    blind = {**params, "tokenize_image": jax.tree.map(jnp.zeros_like, params["tokenize_image"])}
    state = measured.state.replace(params=blind)
    found = measured.experiment.evaluators["modality_corruption"].evaluate(dataclasses.replace(measured, state=state))
    assert found["accuracy_image_noise"] == dataclasses.replace(measured, state=state).means("test")["accuracy"]


def test_noise_replaces_one_modality_only(measured):
    batch = next(iter(measured.batches("test")))
    change = measured.experiment.evaluators["modality_corruption"].noisy(measured, "image")
    changed, again, other = change(0, batch), change(0, batch), change(1, batch)
    assert {name for name in batch if not np.array_equal(batch[name], changed[name])} == {"image"}
    assert np.array_equal(changed["image"], again["image"])
    assert not np.array_equal(changed["image"], other["image"])


def test_noise_is_as_loud_as_what_is_real():
    key = jax.random.key(0)
    real = 3 + 2 * np.random.default_rng(0).standard_normal((50, 40, 3)).astype("float32")
    mask = np.arange(40)[None] < np.full((50, 1), 20)
    value = np.where(mask[..., None], real, 1000.0).astype("float32")
    made = noise(key, value, mask, None)
    assert made.shape == value.shape
    assert float(made.mean()) == pytest.approx(3, abs=0.1)
    assert float(made.std()) == pytest.approx(2, abs=0.1)


def test_noise_of_words_is_words():
    made = np.asarray(noise(jax.random.key(0), np.zeros((20, 30), "int32"), None, 7))
    assert sorted(set(made.ravel().tolist())) == list(range(7))


def test_networks_that_fuse_nothing_are_refused():
    with pytest.raises(UserError, match="modality_corruption: mlp does not fuse modalities"):
        build(small("evaluators.modality_corruption.split=test"))
