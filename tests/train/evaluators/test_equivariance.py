"""The commutator with a shift, against networks of which it is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.runs import fresh, small
from train import config as configs
from train.errors import UserError
from train.evaluators.equivariance import Moved, difference
from train.experiment import build
from train.step import evaluated_variables


class Running(nn.Module):
    """Sums over the steps so far, each times a weight that may depend on when it is."""

    outputs: str
    by_place: bool

    @nn.compact
    def __call__(self, sequence, mask=None, *, train=False):
        weight = 1.0 + jnp.arange(sequence.shape[1])[None, :, None] * self.by_place
        sums = jnp.cumsum(weight * sequence, axis=1)
        return sums if self.outputs == "all" else sums[:, -1]


SEQUENCE = np.random.default_rng(0).standard_normal((2, 7, 3)).astype("float32")


@pytest.mark.parametrize("outputs", ["all", "last"])
def test_what_does_not_know_the_time_commutes(outputs):
    after, before = Moved(Running(outputs, by_place=False), "sequence", None, 2)({}, {"sequence": SEQUENCE})
    assert before.shape == ((2, 5, 3) if outputs == "all" else (2, 3))
    np.testing.assert_array_equal(after, before)


def test_what_knows_the_time_does_not():
    after, before = Moved(Running("last", by_place=True), "sequence", None, 2)({}, {"sequence": SEQUENCE})
    np.testing.assert_allclose(after - before, 2 * SEQUENCE[:, :5].sum(axis=1), rtol=1e-5)


def test_the_mask_comes_later_too():
    class Counting(nn.Module):
        @nn.compact
        def __call__(self, sequence, mask, *, train=False):
            return jnp.stack([mask.sum(axis=1), jnp.argmax(mask, axis=1)], axis=1)

    inputs = {"sequence": SEQUENCE, "mask": np.ones((2, 7), bool)}
    after, before = Moved(Counting(), "sequence", "mask", 3)({}, inputs)
    assert before.tolist() == [[4, 0], [4, 0]]
    assert after.tolist() == [[4, 3], [4, 3]], "as many real steps, from the third on"


def test_the_difference_is_a_share():
    pairs = [(np.array([[3.0, 1.0]]), np.array([[0.0, 1.0]])), (np.array([[2.0, 2.0]]), np.array([[2.0, 2.0]]))]
    assert difference(iter(pairs)) == pytest.approx(np.sqrt(9 / 9))
    assert difference(iter([(np.zeros((1, 2)), np.zeros((1, 2)))])) == 0


def test_images_are_shifted_in_four_directions():
    measured = fresh(small("evaluators.equivariance.max_shift=1"))
    evaluator = measured.experiment.evaluators["equivariance"]
    (found,) = evaluator.evaluate(measured).values()
    data, model = measured.experiment.data, measured.experiment.model
    images = data.split("test")[np.arange(len(data.split("test")))]["image"]
    still = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def outputs(row, column):
        moved = still[:, row : row + 8, column : column + 8]
        inputs = jax.tree.map(jnp.asarray, data.prepare({"image": moved}, measured.experiment.view))
        return np.asarray(model.apply(evaluated_variables(measured.state), **inputs, train=False))

    before = outputs(1, 1)
    squares = sum(np.square(outputs(*place) - before).sum() for place in ((0, 1), (2, 1), (1, 0), (1, 2)))
    assert found == pytest.approx(np.sqrt(squares / (4 * np.square(before).sum())), rel=1e-4)
    assert found > 0.01
    assert evaluator.reports(measured.experiment) == ("commutator_shift_1",)


COPYING = ["data.source.blanks=4", "data.source.train_size=8", "data.source.eval_size=8", "data.batch_size=8"]


def test_a_recurrent_network_that_begins_at_zero_nearly_commutes():
    """Of fresh weights biases are zero, but for the LSTM's forget gate: zeros leave the state alone."""
    flags = [*COPYING, "model.hidden_size=4", "steps=1", "evaluators.equivariance.max_shift=2"]
    measured = fresh(configs.load("configs/adding.py:lstm", ["data.source.length=8", *flags[1:]]))
    found = measured.experiment.evaluators["equivariance"].evaluate(measured)
    assert list(found) == ["commutator_shift_1", "commutator_shift_2"]
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize(
    "path, flag, message",
    [
        ("configs/quickstart.py:mlp", "max_shift=8", "equivariance.max_shift: 8 is out of range; .* from 1 to 7"),
        ("configs/transduction.py", "max_shift=1", "equivariance: seq2seq must read one sequence alone"),
    ],
)
def test_mistakes(path, flag, message):
    with pytest.raises(UserError, match=message):
        build(configs.load(path, [f"evaluators.equivariance.{flag}"]))
