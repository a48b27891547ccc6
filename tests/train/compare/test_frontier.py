"""The best within a budget, by hand, and the operations of an update against the count of the model."""

import pytest

from train import config as configs
from train.compare import frontier
from train.compare.frontier import Frontier
from train.compare.lab import Lab, measure

ONE = Frontier(((10.0, 0.5), (20.0, 0.9), (40.0, 0.8), (5.0, 0.6)))


def test_by_hand():
    assert (ONE.first, ONE.last, ONE.best) == (5, 40, 0.9)
    assert [ONE.within(spent) for spent in (5, 10, 19.9, 20, 100)] == [0.6, 0.6, 0.6, 0.9, 0.9]
    assert [ONE.needed(value) for value in (0.1, 0.6, 0.61, 0.9)] == [5, 5, 20, 20]


def test_runs_of_a_competitor_are_joined_by_seed(config_file, fake_train, tmp_path):
    lab = Lab(str(tmp_path / "work"), train_run=fake_train)
    variants = {name: configs.load(f"{config_file}:{name}") for name in ("narrow", "wide")}
    study = lab.train(variants, (0, 3))
    both = frontier.frontiers([(study, "narrow"), (study, "wide")], "test/accuracy")
    narrow = frontier.frontiers([(study, "narrow")], "test/accuracy")
    assert list(both) == list(narrow) == [0, 3]
    cost = {name: 3 * 64 * measure(config)["flops_forward"] for name, config in variants.items()}
    assert cost["wide"] > 3 * cost["narrow"]
    assert both[0].first == 10 * cost["narrow"] and both[0].last == 40 * cost["wide"]
    assert len(both[3].points) == 8 and len(narrow[3].points) == 4
    assert both[3].within(both[3].first) == pytest.approx(0.9 + 0.016 + 3 / 500)
    assert both[3].best == pytest.approx(0.9 + 0.064 + 3 / 500)


def test_what_a_run_costs_is_counted_once_for_all_seeds_and_amounts_of_data(config_file, monkeypatch):
    from train import experiment

    built = []
    build = experiment.build
    monkeypatch.setattr(experiment, "build", lambda config: built.append(config) or build(config))
    flags = [[f"seed={seed}", f"data.train_fraction={part}", "data.batch_size=7"] for seed, part in ((0, 1), (4, 0.1))]
    one, other = (measure(configs.load(config_file, given)) for given in flags)
    assert one == other and len(built) == 1
    one["parameters"] = 0
    assert measure(configs.load(config_file, flags[0])) == other, "nobody can change what is remembered"
