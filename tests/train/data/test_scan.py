"""SCAN is generated exactly as it was published."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from train.data.sources import scan, tfds


def pairs(examples) -> list[tuple[str, str]]:
    columns = examples[np.arange(len(examples))]
    texts = [
        [text if isinstance(text, str) else text.decode() for text in columns[key]] for key in ("commands", "actions")
    ]
    return list(zip(*texts, strict=True))


@pytest.mark.parametrize(
    "command, actions",
    [
        ("jump", "JUMP"),
        ("jump left", "LTURN JUMP"),
        ("jump around right", "RTURN JUMP RTURN JUMP RTURN JUMP RTURN JUMP"),
        ("turn left twice", "LTURN LTURN"),
        ("jump thrice", "JUMP JUMP JUMP"),
        ("jump opposite left and walk thrice", "LTURN LTURN JUMP WALK WALK WALK"),
        ("jump opposite left after walk around left", "LTURN WALK LTURN WALK LTURN WALK LTURN WALK LTURN LTURN JUMP"),
    ],
)
def test_every_word_means_what_the_paper_says(command, actions):
    names = {"LTURN": "I_TURN_LEFT", "RTURN": "I_TURN_RIGHT", "JUMP": "I_JUMP", "WALK": "I_WALK"}
    assert dict(scan.everything())[command] == " ".join(names[action] for action in actions.split())


def test_there_are_as_many_commands_as_in_the_paper():
    commands = [command for command, _ in scan.everything()]
    assert len(commands) == len(set(commands)) == 20_910
    assert len({word for command in commands for word in command.split()}) == 13
    assert len({action for _, actions in scan.everything() for action in actions.split()}) == 6


@pytest.mark.parametrize(
    "task, sizes",
    [
        ("simple", (16_728, 4_182)),
        ("length", (16_990, 3_920)),
        ("addprim_jump", (14_670, 7_706)),
        ("addprim_turn_left", (21_890, 1_208)),
    ],
)
def test_splits_have_the_published_sizes_and_share_no_command(task, sizes):
    source = scan.Source(task)
    train, test = (pairs(source.split(name)) for name in source.splits())
    assert (len(train), len(test)) == sizes
    assert not set(train) & set(test)
    assert set(train) | set(test) == set(scan.everything())


def test_what_the_splits_hold_out():
    train, test = (pairs(scan.Source("length").split(name)) for name in ("train", "test"))
    assert max(len(actions.split()) for _, actions in train) == 22
    assert min(len(actions.split()) for _, actions in test) > 22
    train, test = (pairs(scan.Source("addprim_jump").split(name)) for name in ("train", "test"))
    assert {command for command, _ in train if "jump" in command} == {"jump"}
    assert all("jump" in command for command, _ in test)
    assert Counter(command for command, _ in train)["jump"] * 10 == len(train)


def test_origins_name_places_in_the_whole_list():
    split = scan.Source("simple").split("test")
    everything = scan.everything()
    for (command, _), origin in list(zip(pairs(split), split[np.arange(len(split))]["origin"], strict=True))[::500]:
        assert everything[int(origin.removeprefix("SCAN:")) - 1][0] == command


@pytest.mark.slow
@pytest.mark.parametrize("task", ["simple", "length", "addprim_jump", "addprim_turn_left"])
def test_equals_what_tfds_prepared(task):
    beside = Path(__file__).resolve().parents[4] / "shared" / "data" / "tfds"
    folder = os.environ.get("TFDS_DATA_DIR", str(beside))
    if not (Path(folder) / "scan").exists():
        pytest.skip("SCAN is not prepared; set TFDS_DATA_DIR")
    theirs = tfds.Source(f"scan/{task}", data_dir=folder)
    ours, published = (
        {name: Counter(pairs(source.split(name))) for name in ("train", "test")}
        for source in (scan.Source(task), theirs)
    )
    assert ours["train"] + ours["test"] == published["train"] + published["test"]
    if task != "simple":  # drawn anew here
        assert ours == published
