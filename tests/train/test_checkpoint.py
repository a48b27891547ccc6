"""Checkpoints are whole or not used: flipped bits, truncation, missing files, missing seals; and which are kept."""

import logging

import pytest
from etils import epath

from tests.train.runs import StopAt, final_state, same, small
from train import loop
from train.checkpoint import SEAL
from train.errors import Stopped

EVERY = "checkpoint.every=5"


def steps(folder) -> list[int]:
    return sorted(int(p.name) for p in (folder / "checkpoints").iterdir())


def largest_file(folder) -> epath.Path:
    """The file that holds the arrays."""
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


BEST = ["checkpoint.keep_last=1", "checkpoint.keep_best=1", "checkpoint.metric=test/accuracy", "checkpoint.mode=max"]


@pytest.mark.parametrize("keep, left", [(1, [20]), (3, [10, 15, 20])])
def test_the_last_are_kept(tmp_path, keep, left):
    loop.train(small(EVERY, f"checkpoint.keep_last={keep}"), tmp_path)
    assert steps(tmp_path) == left


def test_the_best_are_kept_besides(tmp_path):
    best = [*BEST, "evaluators.accuracy.every=5"]
    # The learning rate grows until training goes wrong, so that the best is not the last.
    worse = ["optimizer.schedule.name=linear", "optimizer.schedule.final_fraction=2000", "steps=40"]
    loop.train(small(EVERY, *best, *worse), tmp_path)
    measured = {
        row["step"]: row["test/accuracy"]
        for row in loop.writers.read_rows(epath.Path(tmp_path))
        if "test/accuracy" in row
    }
    assert max(measured, key=measured.get) != 40, "the case is not what this test is about"
    kept = steps(tmp_path)
    assert 40 in kept and len(kept) == 2 and measured[kept[0]] == max(measured.values())


def test_a_restart_forgets_no_measurement(tmp_path):
    overrides = [EVERY, *BEST, "evaluators.accuracy.every=5", "log_every=1", "steps=30"]
    overrides += ["optimizer.schedule.name=linear", "optimizer.schedule.final_fraction=2000"]
    loop.train(small(*overrides), tmp_path / "whole")
    for moment in (2, 18):  # before the first measurement, and after some
        with pytest.raises(Stopped):
            loop.train(small(*overrides), tmp_path / "stopped", writer=StopAt(moment))
    loop.train(small(*overrides), tmp_path / "stopped")
    assert steps(tmp_path / "stopped") == steps(tmp_path / "whole")


def flip_a_bit(folder):
    file = largest_file(folder)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(folder):
    file = largest_file(folder)
    file.write_bytes(file.read_bytes()[:-7])


def lose_a_file(folder):
    largest_file(folder).unlink()


def lose_the_seal(folder):
    (folder / SEAL).unlink()


def garble_the_seal(folder):
    (folder / SEAL).write_text("{")


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, lose_a_file, lose_the_seal, garble_the_seal])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage, caplog):
    config = small(EVERY, "checkpoint.keep_last=2")
    loop.train(config, tmp_path)
    whole = final_state(tmp_path, config)
    (tmp_path / "result.json").unlink()
    damage(tmp_path / "checkpoints" / "20")
    with caplog.at_level(logging.WARNING, "train.checkpoint"):
        loop.train(config, tmp_path)
    assert "checkpoints/20 is not used" in caplog.text
    assert same(final_state(tmp_path, config), whole), "it went on from the one before"
    assert (tmp_path / "damaged" / "20").exists(), "nothing is lost"


def test_with_no_whole_checkpoint_a_run_starts_again(tmp_path):
    config = small()
    loop.train(config, tmp_path)
    whole = final_state(tmp_path, config)
    (tmp_path / "result.json").unlink()
    flip_a_bit(tmp_path / "checkpoints" / "20")
    loop.train(config, tmp_path)
    assert same(final_state(tmp_path, config), whole)


def test_a_checkpoint_holds_the_config(tmp_path):
    loop.train(small(), tmp_path)
    assert any("digits" in p.read_text() for p in (tmp_path / "checkpoints" / "20" / "config").iterdir())
