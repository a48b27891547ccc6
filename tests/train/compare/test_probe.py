"""A claim looks into runs that were trained without the evaluator it asks for."""

import pytest

from tests.train.runs import small
from train.compare.claims import ClaimLab
from train.compare.lab import Lab


def test_probes_runs_at_their_end_and_at_their_start(tmp_path):
    lab = ClaimLab(Lab(str(tmp_path)), seeds=(0, 3))
    study = lab.train("one", {"mlp": small("steps=10"), "slow": small("steps=1")}, axis=["steps"])
    after, before = (lab.probe(study, "mlp", "loss", trained=trained) for trained in (True, False))
    assert list(after) == list(before) == [0, 3]
    assert {seed: numbers["test/loss"] for seed, numbers in after.items()} == study.values("test/loss", "mlp")
    assert all(after[seed]["test/loss"] < before[seed]["test/loss"] for seed in after)
    assert before == lab.probe(study, "slow", "loss", trained=False), "the same seed begins alike"


def test_fields_of_the_evaluator_are_given_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = ClaimLab(Lab("as/a/person/types/it"), seeds=(0,))
    study = lab.train("one", {"mlp": small("steps=1")}, axis=["model"])
    numbers = lab.probe(study, "mlp", "cka", layers=("head", "Dense_0"))[0]
    assert numbers["test/cka/head/Dense_0"] == pytest.approx(numbers["test/cka_adjacent_mean"])
