"""How often a class changes with a pixel, against counting, and what cannot be asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.runs import fresh, small
from train import config as configs
from train.errors import UserError
from train.experiment import build
from train.step import evaluated_variables


def test_counts_the_images_whose_class_changes():
    measured = fresh(small("evaluators.flip_rate.max_shift=2"))
    evaluator, data = measured.experiment.evaluators["flip_rate"], measured.experiment.data
    images = data.split("test")[np.arange(len(data.split("test")))]["image"]
    still = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))

    def classes(row, column):
        moved = still[:, row : row + 8, column : column + 8]
        inputs = jax.tree.map(jnp.asarray, data.prepare({"image": moved}, measured.experiment.view))
        return measured.experiment.model.apply(evaluated_variables(measured.state), **inputs).argmax(-1)

    before = classes(2, 2)
    changes = {
        k: np.mean([classes(2 + row, 2 + column) != before for row, column in ((k, 0), (-k, 0), (0, k), (0, -k))])
        for k in (1, 2)
    }
    assert evaluator.evaluate(measured) == {
        f"flip_rate_shift_{k}": pytest.approx(share, abs=1e-6) for k, share in changes.items()
    }
    assert 0 < changes[1] < 1


@pytest.mark.parametrize("path", ["configs/adding.py", "configs/sst2.py:lstm:embedded", "configs/captions.py:clip"])
def test_only_classifiers_of_images_are_judged(path):
    with pytest.raises(UserError, match="flip_rate"):
        build(configs.load(path, ["evaluators.flip_rate.max_shift=1"]))
