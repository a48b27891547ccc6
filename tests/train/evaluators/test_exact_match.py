"""A sequence is right if every token that the model writes is, the end included."""

import numpy as np
import pytest

from tests.train.runs import fresh
from tests.train.texts import translation, write_pairs
from train import config as configs
from train import decoding, loop
from train.errors import UserError
from train.experiment import build

TRANSDUCTION = [
    *("model.hidden_size=16", "model.embedding_size=8", "model.alignment_size=8", "model.maxout_size=8"),
    *("data.source.train_size=64", "data.source.eval_size=40", "data.source.max_length=3", "data.batch_size=16"),
    *("steps=1", "evaluators.exact_match.by_length=True"),
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("exact_match") / "pairs")


def test_what_is_known_by_heart_is_right(pairs, tmp_path):
    metrics = loop.train(translation(pairs, "steps=80", "evaluators.exact_match.by_length=True"), tmp_path).metrics
    assert metrics == dict.fromkeys(metrics, 1.0)
    assert set(metrics) == {"test/exact_match", *(f"test/exact_match_length_{n}" for n in range(1, 5))}


def test_generated_sequences_need_no_vocabulary(monkeypatch):
    """The model's own targets, some with an error, read from a source that has none but tokens."""
    measured = fresh(configs.load("configs/transduction.py", TRANSDUCTION))
    evaluator = measured.experiment.evaluators["exact_match"]
    examples = measured.experiment.data.split("test")
    written = measured.write("test", decoding.GREEDY, 4)
    lengths = examples.arrays["target_mask"].sum(axis=1)
    assert written.shape == (40, 4)
    wrong = np.arange(40) % 4 == 0
    target = np.where(examples.arrays["target_mask"], written, 9)  # what is masked does not count
    target[wrong, 1] += 1
    monkeypatch.setitem(examples.arrays, "target", target)
    monkeypatch.setattr(type(measured.experiment.data.source), "split", lambda source, name: examples)
    numbers = evaluator.evaluate(measured)
    assert numbers["exact_match"] == pytest.approx(0.75)
    order = np.argsort(lengths, kind="stable")
    for number, part in enumerate(np.split(order, 4), 1):
        assert numbers[f"exact_match_length_{number}"] == pytest.approx(1 - wrong[part].mean())


def test_is_compiled_once(pairs):
    first = fresh(translation(pairs, "evaluators.exact_match.split=test"))
    first.experiment.evaluators["exact_match"].evaluate(first)
    again = fresh(translation(pairs, "evaluators.exact_match.split=test"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "sample", lambda *args, **kwargs: pytest.fail("traced again"))
        again.experiment.evaluators["exact_match"].evaluate(again)


def test_a_model_that_writes_nothing_is_refused():
    config = configs.load("configs/quickstart.py:mlp", ["evaluators.exact_match.split=test"])
    with pytest.raises(UserError, match="config.evaluators.exact_match: mlp writes no target"):
        build(config)


def test_a_split_of_few_examples_has_no_quarters():
    flags = [*TRANSDUCTION, "data.source.eval_size=3"]
    with pytest.raises(UserError, match="by_length: the split 'test' has too few examples"):
        build(configs.load("configs/transduction.py", flags))
