"""SCAN (Lake & Baroni, 2018, https://arxiv.org/abs/1711.00350): commands of a small language and their actions.

Built from the grammar and the interpretation function of the paper's supplement, which together give its 20,910 pairs.
The splits are the paper's but for `simple`, whose published test set was drawn at random: here another
draw is used, of the same sizes. TFDS has the published one (source `tfds`, data set `scan/simple`).
"""

import dataclasses
import functools
from typing import Literal

import numpy as np

from train.data.arrays import InMemory

LONGEST = 22  # Actions of training examples of the split by length.
ADDED_SHARE = 10  # One in this many training examples is the primitive that is added.
SIMPLE_TRAIN_SIZE = 16_728
SIMPLE_SEED = 0  # Of the draw of test examples; no run changes it.
TURNS = {"left": "I_TURN_LEFT", "right": "I_TURN_RIGHT"}
VERBS = ("walk", "look", "run", "jump")
PRIMITIVES = {"addprim_jump": "jump", "addprim_turn_left": "turn left"}

Pair = tuple[str, list[str]]


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives texts `commands`, `actions`, and `origin`, in the order of the grammar.

    Attributes:
        task: which commands are held out for the test. "simple": a fifth, drawn at random. "length": those of more than
            22 actions. "addprim_jump", "addprim_turn_left": those with this primitive in them; the training examples
            have it as a command of its own, repeated until it is a tenth of them.
    """

    task: Literal["simple", "length", "addprim_jump", "addprim_turn_left"] = "simple"

    num_classes = None

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def split(self, name: str) -> InMemory:
        pairs = everything()
        in_test = self._in_test(pairs)
        chosen = np.flatnonzero(in_test == (name == "test"))
        if name == "train" and self.task in PRIMITIVES:
            primitive = [command for command, _ in pairs].index(PRIMITIVES[self.task])
            others = chosen[chosen != primitive]
            chosen = np.concatenate([others, np.full(len(others) // (ADDED_SHARE - 1), primitive)])
        columns = [(*pairs[number], f"SCAN:{number + 1}") for number in chosen]
        commands, actions, origin = (np.asarray(column, object) for column in zip(*columns, strict=True))
        return InMemory({"commands": commands, "actions": actions, "origin": origin})

    def _in_test(self, pairs: tuple[tuple[str, str], ...]) -> np.ndarray:
        """Which commands are held out."""
        if self.task == "length":
            return np.asarray([len(actions.split()) > LONGEST for _, actions in pairs])
        if self.task in PRIMITIVES:
            primitive = PRIMITIVES[self.task]
            return np.asarray([primitive in command and primitive != command for command, _ in pairs])
        order = np.random.default_rng(SIMPLE_SEED).permutation(len(pairs))
        return np.argsort(order) >= SIMPLE_TRAIN_SIZE


@functools.lru_cache
def everything() -> tuple[tuple[str, str], ...]:
    """All commands and their actions."""
    phrases = _repeated(_verbs() + _directed())
    joined = phrases + [
        (f"{first} {word} {second}", actions + more if word == "and" else more + actions)
        for first, actions in phrases
        for word in ("and", "after")
        for second, more in phrases
    ]
    return tuple((command, " ".join(actions)) for command, actions in joined)


def _verbs() -> list[Pair]:
    """The grammar's U."""
    return [(verb, [f"I_{verb.upper()}"]) for verb in VERBS]


def _directed() -> list[Pair]:
    """The grammar's D: one turn before the verb, two (opposite), or one before each of four (around).

    `turn` turns and does nothing more.
    """
    directed = []
    for verb, action in [*_verbs(), ("turn", [])]:
        for direction, turn in TURNS.items():
            directed += [
                (f"{verb} {direction}", [turn, *action]),
                (f"{verb} opposite {direction}", [turn, turn, *action]),
                (f"{verb} around {direction}", [turn, *action] * 4),
            ]
    return directed


def _repeated(phrases: list[Pair]) -> list[Pair]:
    """The grammar's S."""
    times = {"": 1, " twice": 2, " thrice": 3}
    return [(command + word, actions * count) for command, actions in phrases for word, count in times.items()]
