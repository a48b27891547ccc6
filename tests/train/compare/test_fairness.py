"""Apples to apples: what differs without being declared stops a comparison."""

from collections.abc import Callable
from typing import Any

import pytest
from ml_collections import ConfigDict

from train import config as configs
from train.compare import fairness
from train.compare.claims import ClaimLab
from train.compare.fairness import Unfair
from train.compare.lab import Lab


@pytest.fixture
def variant(config_file: str) -> Callable[..., ConfigDict]:
    return lambda name, *overrides: configs.load(f"{config_file}:{name}", overrides)


def test_a_pair_with_twice_the_steps_is_stopped_before_it_trains(tmp_path: Any, variant: Any, fake_train: Any) -> None:
    claim_lab = ClaimLab(Lab(str(tmp_path / "w"), train_run=fake_train), seeds=range(2))
    pair = {"narrow": variant("narrow"), "wide": variant("wide", "steps=80")}
    with pytest.raises(Unfair) as stopped:
        claim_lab.train("widths", pair, axis=["model.hidden_sizes"])
    assert str(stopped.value).startswith(
        "narrow and wide differ in more than model.hidden_sizes: steps: 40 against 80. Make these fields equal"
    )
    assert not fake_train.calls and not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("optimizer.learning_rate=0.01", "optimizer.learning_rate: 0.001 against 0.01"),
        ("data.batch_size=32", "data.batch_size: 64 against 32"),
        ("model.activation=tanh", "model.activation: 'relu' against 'tanh'"),
    ],
)
def test_every_other_difference_is_named_with_both_values(variant: Any, override: str, difference: str) -> None:
    pair = {"a": variant("narrow"), "b": variant("wide", override)}
    with pytest.raises(Unfair, match="b differ in more than model.hidden_sizes") as stopped:
        fairness.demand(pair, ["model.hidden_sizes"])
    assert f"model.hidden_sizes: {difference}. Make these" in str(stopped.value)
    fairness.demand(pair, ["model.hidden_sizes", override.partition("=")[0]])


def test_a_section_stands_for_all_that_is_in_it_and_for_no_other(variant: Any) -> None:
    pair = {"a": variant("narrow"), "b": variant("wide", "model.activation=tanh")}
    fairness.demand(pair, ["model"])
    with pytest.raises(Unfair):
        fairness.demand(pair, ["mode"])


def test_any_two_of_several_are_compared(variant: Any) -> None:
    several = {"a": variant("narrow"), "b": variant("narrow"), "c": variant("narrow", "steps=20")}
    with pytest.raises(Unfair, match="a and c differ in more than nothing: steps: 40 against 20"):
        fairness.demand(several, [])


def test_a_field_that_one_lacks_is_absent(variant: Any) -> None:
    found = fairness.undeclared(variant("narrow"), variant("narrow", "evaluators.loss.every=10"), [])
    assert "evaluators.loss.every: 'absent' against 10" in found
    assert fairness.undeclared(variant("narrow"), variant("narrow"), []) == []


def test_what_changes_no_result_may_differ(variant: Any) -> None:
    pair = {"a": variant("narrow"), "b": variant("narrow", "log_every=7", "data.workers=0", "data.cache=False")}
    fairness.demand(pair, [])
