"""The gradient by each step, against networks whose derivative is known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.runs import fresh
from train import config as configs
from train.errors import UserError
from train.evaluators.gradient_flow import Gradients, lags_shown, summary
from train.experiment import build
from train.objectives import classification, language_modeling, regression

DECAY = 0.8
LENGTH = 6


class Fading(nn.Module):
    """What it has read, each step 0.8 times what it was at the next: the last such sum, or all of them."""

    outputs: str = "last"

    @nn.compact
    def __call__(self, sequence, mask=None, *, train=False):
        x = sequence if mask is None else jnp.where(mask[..., None], sequence, 0)
        ago = jnp.arange(x.shape[1])[:, None] - jnp.arange(x.shape[1])[None]
        sums = jnp.einsum("ts,bsd->btd", jnp.where(ago >= 0, DECAY**ago, 0), x)
        if self.outputs == "all":
            return sums
        last = x.shape[1] - 1 if mask is None else mask.sum(axis=1) - 1
        return sums[jnp.arange(len(x)), last]


class Reader(nn.Module):
    """A causal language model: the sum of the embeddings read so far, through tanh."""

    causal = True
    vocab_size: int = 5

    @nn.compact
    def __call__(self, tokens, mask=None, *, train=False):
        x = nn.Embed(self.vocab_size, 3, name="words")(tokens)
        nn.Embed(self.vocab_size, 3, name="other")(tokens)  # not the first: it must not be mistaken for it
        return nn.Dense(self.vocab_size)(jnp.tanh(jnp.cumsum(x, axis=1)))


def numbers(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_of_one_output_it_fades_with_the_lag():
    lengths = np.array([LENGTH, 4])
    mask = np.arange(LENGTH)[None] < lengths[:, None]
    batch = {"sequence": numbers(2, LENGTH, 1), "mask": mask, "target": np.zeros((2, 1), "float32")}
    norms, lags = Gradients(Fading(), regression.Objective(), "sequence", "mask", 0)({}, batch)
    outputs = Fading().apply({}, batch["sequence"], mask)[:, 0]
    for row, length in enumerate(lengths):
        assert lags[row, :length].tolist() == list(range(length))[::-1]
        assert set(lags[row, length:].tolist()) <= {-1}
        expected = 2 * abs(outputs[row]) * DECAY ** np.arange(length)[::-1]
        np.testing.assert_allclose(norms[row, :length], expected, rtol=1e-5)
    counted = np.asarray(lags) >= 0
    by_lag, slope = summary(np.asarray(norms)[counted][:LENGTH], np.asarray(lags)[counted][:LENGTH])
    assert slope == pytest.approx(np.log(DECAY), abs=1e-5)
    assert by_lag[1] == pytest.approx(DECAY * by_lag[0], rel=1e-5)


def test_of_many_outputs_only_the_last_counts():
    batch = {"sequence": numbers(3, LENGTH, 4), "label": np.zeros((3, LENGTH), int)}
    norms, lags = Gradients(Fading("all"), classification.Objective(), "sequence", None, 0)({}, batch)

    def of_the_last(sequence):
        last = Fading().apply({}, sequence)
        return -nn.log_softmax(last)[:, 0].sum()

    expected = jnp.linalg.norm(jax.grad(of_the_last)(batch["sequence"]), axis=-1)
    np.testing.assert_allclose(norms, expected, rtol=1e-5)
    assert lags[0].tolist() == [5, 4, 3, 2, 1, 0]


def test_of_a_language_model_it_is_taken_by_the_embedding_from_the_last_token_with_a_successor():
    tokens = np.array([[1, 3, 2, 4, 0], [2, 2, 1, 0, 3]])
    model = Reader()
    variables = model.init(jax.random.key(0), tokens)
    valid = np.array([True, False])
    batch = {"tokens": tokens, "valid": valid}
    norms, lags = Gradients(model, language_modeling.Objective(), "tokens", None, 1)(variables, batch)
    params = variables["params"]

    def of_the_last(words):
        inner = jnp.tanh(words[:4].sum(axis=0))
        logits = inner @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
        return -nn.log_softmax(logits)[tokens[0, 4]]

    expected = jnp.linalg.norm(jax.grad(of_the_last)(params["words"]["embedding"][tokens[0]]), axis=-1)
    np.testing.assert_allclose(norms[0], expected, rtol=1e-5)
    assert lags[0].tolist() == [3, 2, 1, 0, -1]
    assert set(lags[1].tolist()) == {-1}, "a row that fills up a batch is no example"


def test_a_summary_of_several_lengths():
    by_lag, slope = summary(np.array([4.0, 2.0, 2.0, 0.0]), np.array([0, 1, 0, 2]))
    assert by_lag == {0: 3.0, 1: 2.0, 2: 0.0}
    assert slope < -10, "what is zero is not left out"
    assert summary(np.array([1.0]), np.array([0]))[1] == 0.0


@pytest.mark.parametrize("length, lags", [(1, [0]), (2, [0, 1]), (5, [0, 1, 2, 4]), (4, [0, 1, 2])])
def test_the_lags_that_are_shown(length, lags):
    assert lags_shown(length) == lags


ADDING = ["data.source.length=6", "data.source.train_size=16", "data.source.eval_size=10", "data.batch_size=8"]


def test_any_run_on_sequences_can_be_measured():
    flags = [*ADDING, "model.hidden_size=4", "steps=1", "evaluators.gradient_flow.split=test"]
    measured = fresh(configs.load("configs/adding.py:simple", flags))
    evaluator = measured.experiment.evaluators["gradient_flow"]
    found = evaluator.evaluate(measured)
    assert tuple(found) == evaluator.reports(measured.experiment)
    assert list(found)[:-1] == [f"gradient_lag_{lag}" for lag in (0, 1, 2, 4)]
    assert all(np.isfinite(value) for value in found.values())
    assert min(found[f"gradient_lag_{lag}"] for lag in (0, 1, 2, 4)) > 0


@pytest.mark.parametrize(
    "path, message",
    [
        ("configs/quickstart.py:mlp", "gradient_flow: mlp must read one sequence alone"),
        ("configs/transduction.py", "gradient_flow: seq2seq must read one sequence alone"),
        ("configs/bert_text.py:bert:embedded", "gradient_flow: masked_language_modeling has no last output"),
    ],
)
def test_networks_without_time_are_refused(path, message):
    with pytest.raises(UserError, match=message):
        build(configs.load(path, ["evaluators.gradient_flow.every=1"]))
