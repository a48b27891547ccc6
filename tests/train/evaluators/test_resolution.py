"""Accuracy at other resolutions, against images that were resized before, and what does not take them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.runs import fresh
from train import config as configs
from train.errors import UserError
from train.experiment import build
from train.step import evaluated_variables

RESNET = ["model.name=resnet", "model.stem=small", "model.stage_sizes=(1,)", "model.hidden_sizes=(4,)"]
RESNET += ["model.stage_strides=(1,)", "data.batch_size=16"]


def test_is_the_accuracy_on_resized_images():
    flags = [*RESNET, "evaluators.resolution.sizes=(8, 12)"]
    measured = fresh(configs.load("configs/quickstart.py:mlp", flags))
    experiment = measured.experiment
    split = experiment.data.split("test")
    rows = split[np.arange(len(split))]
    images = experiment.data.prepare({"image": rows["image"]}, experiment.view)["image"]

    def accuracy(size):
        larger = jax.image.resize(jnp.asarray(images), (len(images), size, size, 1), "bilinear")
        logits = experiment.model.apply(evaluated_variables(measured.state), larger)
        return np.mean(np.asarray(logits).argmax(-1) == rows["label"])

    found = experiment.evaluators["resolution"].evaluate(measured)
    assert found == {f"accuracy_at_{size}": pytest.approx(accuracy(size), abs=1e-6) for size in (8, 12)}
    assert found["accuracy_at_8"] == measured.means("test")["accuracy"]


@pytest.mark.parametrize(
    "path, sizes, message",
    [
        ("configs/quickstart.py:lenet", "(24,)", r"resolution.sizes: lenet does not take 24×24 pixels"),
        ("configs/quickstart.py:mlp", "(24,)", "resolution: mlp reads no images whose size could change"),
        ("configs/quickstart.py:lenet", "(0,)", "resolution.sizes: 0 is out of range; it must be at least 1"),
    ],
)
def test_mistakes(path, sizes, message):
    with pytest.raises(UserError, match=message):
        build(configs.load(path, [f"evaluators.resolution.sizes={sizes}"]))
