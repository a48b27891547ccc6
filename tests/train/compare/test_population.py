"""Runs trained together end where they would have ended alone, each in a folder of its own."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax.core import FrozenDict

from tests.train import runs
from train import experiment, loop, optimizer
from train.compare import lab, population
from train.errors import Stopped
from train.mesh import MeshShape

# They differ in the seed, the learning rate, and the data.
CHANGES = ([], ["seed=1", "optimizer.learning_rate=3e-3"], ["seed=2", "data.train_fraction=0.5"])
CONFIGS = [runs.small("checkpoint.every=5", *changes) for changes in CHANGES]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[epath.Path]:
    """Folders of runs that were trained one by one."""
    folders = [epath.Path(tmp_path_factory.mktemp("alone") / str(seed)) for seed in range(3)]
    for config, folder in zip(CONFIGS, folders, strict=True):
        loop.train(config, folder)
    return folders


def places(folder: Path) -> list[epath.Path]:
    return [epath.Path(folder / str(seed)) for seed in range(3)]


def assert_close(given: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [row.keys() for row in given] == [row.keys() for row in wanted]
    for row, expected in zip(given, wanted, strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_members_end_as_they_would_alone(tmp_path: Path, alone: list[epath.Path]) -> None:
    together = places(tmp_path)
    assert population.train(CONFIGS, together) == [None] * 3
    for config, folder, reference in zip(CONFIGS, together, alone, strict=True):
        assert_close(runs.rows(Path(folder)), runs.rows(Path(reference)))
        result, expected = loop.finished(folder, config), loop.finished(reference, config)
        assert result and expected
        assert dict(result.metrics) == pytest.approx(dict(expected.metrics), rel=1e-4, abs=1e-5)
        state, wanted = runs.final_state(Path(folder), config), runs.final_state(Path(reference), config)
        assert int(state.seed) == config.seed
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), state, wanted)


def test_a_signal_saves_all_and_each_goes_on_alone(tmp_path: Path, alone: list[epath.Path]) -> None:
    together = places(tmp_path)
    with pytest.raises(Stopped, match="saved at step"):
        population.train(CONFIGS, together, writer=runs.StopAt(5))
    for config, folder, reference in zip(CONFIGS, together, alone, strict=True):
        assert loop.finished(folder, config) is None
        assert (folder / "checkpoints").exists() and list((folder / "checkpoints").iterdir())
        loop.train(config, folder)
        assert_close(
            runs.rows(Path(folder))[-2:], runs.rows(Path(reference))[-2:]
        )  # The last updates, and what is measured.


def test_one_that_diverges_leaves_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = loop.Meter.add

    def with_one_that_diverges(self: Any, done: int, metrics: Any) -> None:
        is_second = self._checkpoints._folder.parent.name == "1"
        add(self, done, metrics | ({"first_nonfinite": np.int32(3)} if is_second and done >= 3 else {}))

    monkeypatch.setattr(loop.Meter, "add", with_one_that_diverges)
    together = places(tmp_path)
    errors = population.train(CONFIGS, together)
    assert errors[0] is None and errors[2] is None
    assert str(errors[1]).startswith("diverged: loss, gradient or update is not finite at step 3")
    finished = [loop.finished(folder, config) is not None for folder, config in zip(together, CONFIGS, strict=True)]
    assert finished == [True, False, True]


def test_the_lab_trains_new_seeds_together_and_finds_them_again(tmp_path: Path) -> None:
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("trained alone")

    variants = {"small": runs.small("steps=10"), "other": runs.small("steps=10", "model.activation=tanh")}
    workshop = lab.Lab(str(tmp_path), together="always", train_run=never)
    study = workshop.train(variants, range(2))
    assert not study.failed
    assert [(run.variant, run.seed) for run in study.runs] == [(name, seed) for name in variants for seed in (0, 1)]
    again = workshop.train(variants, range(2))
    assert [run.metrics for run in again.runs] == [run.metrics for run in study.runs]


def test_variants_of_one_kind_are_trained_together(tmp_path: Path) -> None:
    groups: list[list[str]] = []

    class Progress(lab.Progress):
        def training(self, *members: lab.Run) -> Any:
            groups.append([f"{run.variant} {run.seed}" for run in members])
            return super().training(*members)

    variants = {
        "small": runs.small("steps=4"),
        "slow": runs.small("steps=4", "optimizer.learning_rate=1e-4"),
        "tanh": runs.small("steps=4", "model.activation=tanh"),
        "again": runs.small("steps=4"),
    }
    workshop = lab.Lab(str(tmp_path), together="always", progress=Progress(quiet=True))
    study = workshop.train(variants, [0])
    assert groups == [["small 0", "slow 0"], ["tanh 0"], ["again 0"]]
    assert not study.failed and study.values("test/loss", "small") == study.values("test/loss", "again")
    assert study.values("test/loss", "small") != study.values("test/loss", "slow")


@pytest.mark.parametrize("name", optimizer.SCHEDULES)
def test_learning_rates_of_all_schedules_may_be_traced(name: str) -> None:
    chosen = optimizer.Optimizer("adam", 0.3, schedule=FrozenDict(name=name, warmup_steps=2))
    traced = jax.jit(lambda rate: dataclasses.replace(chosen, learning_rate=rate).learning_rates(8)(jnp.arange(9)))
    np.testing.assert_allclose(traced(0.3), chosen.learning_rates(8)(jnp.arange(9)), rtol=1e-6)


def test_only_arrays_that_are_alike_and_not_cut_otherwise_fit() -> None:
    built = experiment.build(CONFIGS[0])
    assert population.kind(built) is not None
    cut = dataclasses.replace(built, mesh_shape=MeshShape(data=1, fsdp=-1))
    in_buckets = dataclasses.replace(built, data=dataclasses.replace(built.data, length_buckets=(8, 16)))
    assert population.kind(cut) is None and population.kind(in_buckets) is None


def test_gain_is_measured() -> None:
    assert 0.01 < population.gain(experiment.build(CONFIGS[0]), 2) < 100
