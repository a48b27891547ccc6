"""BLEU of a run is sacrebleu's, of what the model writes, against the texts as they are."""

import json

import numpy as np
import pytest
import sacrebleu

from tests.train.runs import fresh
from tests.train.texts import SOURCES, TARGETS, translation, write_pairs
from train import loop
from train.errors import UserError
from train.evaluators import quarters
from train.experiment import build


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("bleu") / "pairs")


def test_is_sacrebleus(pairs, tmp_path):
    config = translation(pairs, "steps=20", "evaluators.bleu.by_length=True", "evaluators.bleu.num_beams=2")
    metrics = loop.train(config, tmp_path).metrics
    written = (tmp_path / "evaluations" / "bleu_test.txt").read_text().splitlines()
    assert len(written) == len(TARGETS)
    whole = sacrebleu.corpus_bleu(written, [TARGETS]).score
    assert metrics["test/bleu"] == pytest.approx(whole) and 5 < whole < 100
    order = sorted(range(len(SOURCES)), key=lambda i: len(SOURCES[i].split()))
    for number, part in enumerate(np.array_split(order, 4), 1):
        score = sacrebleu.corpus_bleu([written[i] for i in part], [[TARGETS[i] for i in part]]).score
        assert metrics[f"test/bleu_length_{number}"] == pytest.approx(score)
    result = json.loads((tmp_path / "evaluations" / "bleu_test.json").read_text())
    assert result["bleu"] == pytest.approx(whole) and (result["step"], result["examples"]) == (20, len(TARGETS))
    assert f"version:{sacrebleu.__version__}" in result["signature"] and "tok:13a" in result["signature"]


def test_of_the_first_examples_only(pairs, tmp_path):
    evaluation = fresh(translation(pairs, "evaluators.bleu.num_examples=3"), tmp_path)
    metrics = evaluation.run(evaluation.experiment.evaluators)
    written = (tmp_path / "evaluations" / "bleu_test.txt").read_text().split("\n")[:-1]
    assert len(written) == 3 and set(metrics) == {"test/bleu"}
    assert metrics["test/bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [TARGETS[:3]]).score)


def test_quarters_are_of_one_size_and_in_order():
    lengths = np.array([5, 1, 3, 3, 9, 1, 2])
    assert [part.tolist() for part in quarters(lengths)] == [[1, 5], [6, 2], [3, 0], [4]]


@pytest.mark.parametrize(
    "override, message",
    [
        ("num_beams=0", "config.evaluators.bleu.num_beams: 0 is out of range"),
        ("alpha=-1.0", "config.evaluators.bleu.alpha: -1.0 is out of range"),
        ("num_examples=99", "config.evaluators.bleu.num_examples: 99 is out of range, from 1 to 15"),
        ("max_length=0", "config.evaluators.bleu.max_length: 0 is out of range"),
        ("split=tset", "config.evaluators.bleu.split: split 'tset' does not exist"),
    ],
)
def test_mistakes(pairs, override, message):
    with pytest.raises(UserError, match=message):
        build(translation(pairs, f"evaluators.bleu.{override}"))


def test_too_few_examples_for_quarters(pairs):
    flags = ["evaluators.bleu.num_examples=3", "evaluators.bleu.by_length=True"]
    with pytest.raises(UserError, match="by_length: 3 examples are too few"):
        build(translation(pairs, *flags))
