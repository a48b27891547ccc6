"""Some evaluators alone, on a run that was trained without them."""

import json

import pytest

from tests.train.runs import small
from train import evaluate, loop
from train.errors import UserError
from train.workdir import at


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = at(tmp_path_factory.mktemp("run"))
    loop.train(small("steps=10"), folder)
    return folder


def test_those_that_are_named_run_and_no_others(folder, capsys):
    evaluate.main([f"--workdir={folder}", "--evaluator=cka,loss", "--config.evaluators.cka.layers=('Dense_0', 'head')"])
    numbers = json.loads(capsys.readouterr().out)
    assert list(numbers)[:1] == ["test/cka/Dense_0/head"]
    assert set(numbers) - {"test/cka/Dense_0/head", "test/cka_adjacent_mean", "test/cka_adjacent_spread"} == {
        "test/loss",
        "test/accuracy",
    }
    assert json.loads((folder / "evaluation.json").read_text()) == {"step": 10, **numbers}
    assert "cka" not in (folder / "config.json").read_text()


def test_what_the_run_has_keeps_its_fields(folder):
    """Named or not, an evaluator of the run's own is the run's."""
    assert evaluate.evaluate(folder, [], ["accuracy"]) == evaluate.evaluate(folder, [])


def test_the_state_with_which_a_run_began(folder):
    step, before = evaluate.measure(folder, [], ["accuracy"], trained=False)
    assert step == 0
    assert evaluate.measure(folder, [], ["accuracy"])[0] == 10
    assert before["test/loss"] > evaluate.evaluate(folder, [])["test/loss"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ckaa", "--evaluator: 'ckaa' does not exist; did you mean 'cka'"),
        ("attention_distance", "config.evaluators.attention_distance: mlp does not attend to patches"),
        ("receptive_field", "config.evaluators.receptive_field: mlp reads no images"),
        ("", "--evaluator: '' does not exist"),
    ],
)
def test_mistakes(folder, name, message):
    with pytest.raises(UserError, match=message):
        evaluate.main([f"--workdir={folder}", f"--evaluator={name}"])
