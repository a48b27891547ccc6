"""Receptive fields of networks where they are known: kernels and pooling, one patch, all patches."""

import numpy as np
import pytest

from tests.train.runs import fresh
from train import config as configs
from train.errors import UserError
from train.evaluators import receptive_field
from train.experiment import build

VIT = ["model.hidden_size=8", "model.num_heads=2", "model.mlp_size=16", "model.num_layers=2"]


def measured(config, *flags):
    evaluation = fresh(
        configs.load(f"configs/quickstart.py:{config}", ["evaluators.receptive_field.split=test", *flags])
    )
    evaluator = evaluation.experiment.evaluators["receptive_field"]
    numbers = evaluator.evaluate(evaluation)
    assert tuple(numbers) == evaluator.reports(evaluation.experiment)
    return numbers


def test_convolutions_see_squares():
    """On 28×28: 5×5 of the first layer; pooled and 5×5 again, 14×14 of the second; the third sees all 28 of them.

    Pooled by the mean: by the maximum, a pixel may win for no image.
    """
    numbers = measured("lenet", "model.pooling=average")
    assert numbers["receptive_field_share/c1"] == pytest.approx(25 / 784)
    assert numbers["receptive_field_share/c3"] == pytest.approx(14**2 / 784)
    assert numbers["receptive_field_share/c5"] == 1
    widths = [numbers[f"receptive_field_width/{layer}"] for layer in ("c1", "c3", "c5")]
    assert 0 < widths[0] < 5 and widths == sorted(widths)


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_patches_see_themselves_and_blocks_see_all(pool):
    """On 8×8 in four patches of 4×4: the one in the middle is the last."""
    numbers = measured("vit", *VIT, f"model.pool={pool}")
    assert numbers["receptive_field_share/patches"] == 16 / 64
    assert numbers["receptive_field_share/blocks.layer_0"] == 1
    assert numbers["receptive_field_width/patches"] <= 4 < numbers["receptive_field_width/blocks.layer_1"]


def test_widths_by_hand():
    """All in one place; half and half, four places apart along one axis; spread evenly along a line of three."""
    squares = np.zeros((5, 5))
    assert receptive_field.width(squares) == 0
    squares[2, 3] = 1
    assert receptive_field.width(squares) == 0
    squares[2, 3] = squares[2, 0] = 0
    squares[1, 0] = squares[1, 4] = 2
    assert receptive_field.width(squares) == pytest.approx(2 * np.sqrt((0 + 4) / 2))
    assert receptive_field.width(np.ones((3, 3))) == pytest.approx(2 * np.sqrt(2 / 3))


@pytest.mark.parametrize(
    ("config", "flag", "message"),
    [
        ("mlp", "steps=1", "config.evaluators.receptive_field: mlp reads no images here"),
        ("lenet", "evaluators.receptive_field.layers=('c2',)", "there is no layer 'c2'; did you mean 'c"),
        ("lenet", "evaluators.receptive_field.num_batches=9", "num_batches: 9 is out of range, from 1 to 6"),
    ],
)
def test_mistakes(config, flag, message):
    with pytest.raises(UserError, match=message):
        build(configs.load(f"configs/quickstart.py:{config}", ["evaluators.receptive_field.split=test", flag]))
