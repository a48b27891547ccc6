"""ListOps (Nangia & Bowman, 2018, https://arxiv.org/abs/1804.06028): nested operations on lists of digits, such as
`[MAX 2 9 [MIN 4 7 ] 0 ]`, whose value is a digit.

By the rules of the generator that Tay et al., 2020, published with the Long Range Arena
(https://github.com/google-research/long-range-arena, lra_benchmarks/data/listops.py): an argument above the greatest
depth is an operation with probability 1/4, else a digit; operations have 2 to `max_args` arguments; operations, numbers
of arguments and digits are uniform; expressions of other lengths than asked for, and those that came before, are thrown
away. Operations are minimum, maximum, median, rounded down, and sum modulo 10. The generator writes round brackets as
well, one pair for every token but the first of a list; they say nothing that square ones do not, and are left out.
"""

import dataclasses
import functools

import numpy as np

from train.data import generated
from train.data.arrays import InMemory
from train.errors import UserError

OPERATIONS = ("[MIN", "[MAX", "[MED", "[SM")
TOKENS = np.asarray([*"0123456789", *OPERATIONS, "]"], object)
FIRST_OPERATION, END = 10, 14  # Their numbers among the tokens.
OPERATION_PROBABILITY = 0.25
TOGETHER = 2_000  # Expressions that are made at a time.
PATIENCE = 20  # Times in a row without a new expression after which there are taken to be no more.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `text`, of tokens with a space between them, and `label`, its value from 0 to 9.

    No expression occurs twice, in one split or in two. Another `train_size` changes the training examples only.

    Attributes:
        max_depth: levels of a tree, digits included; 10 in the Long Range Arena.
        max_args: arguments of an operation; 10 in the Long Range Arena.
        min_length: tokens of an expression, brackets included; in the Long Range Arena there are more than 500.
        max_length: likewise; fewer than 2,000.
        train_size: training examples; 96,000 in the Long Range Arena.
        eval_size: examples in each of the other splits; 2,000 there.
        seed: of the generator; another seed is another data set.
    """

    max_depth: int = 10
    max_args: int = 10
    min_length: int = 501
    max_length: int = 1_999
    train_size: int = 96_000
    eval_size: int = 2_000
    seed: int = 0

    num_classes = 10

    def __post_init__(self) -> None:
        shortest = 4  # An operation on two digits.
        generated.check(self, max_depth=2, max_args=2, min_length=shortest, max_length=self.min_length)
        generated.check(self, train_size=1, eval_size=1, seed=0)

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        texts, labels = _expressions(self)
        starts = {"test": 0, "validation": self.eval_size, "train": 2 * self.eval_size}
        start, size = starts[name], self.train_size if name == "train" else self.eval_size
        return InMemory({"text": texts[start : start + size], "label": labels[start : start + size]})


@functools.lru_cache(maxsize=1)
def _expressions(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """All expressions and their values: of the tests, of validation, of training.

    Raises:
        UserError: there are too few.
    """
    rng = np.random.default_rng(source.seed)
    wanted = 2 * source.eval_size + source.train_size
    found: dict[str, int] = {}
    in_vain = 0
    while len(found) < wanted:
        before = len(found)
        found.update(_some(source, rng))
        in_vain = in_vain + 1 if len(found) == before else 0
        if in_vain == PATIENCE:
            raise UserError(
                f"config.data.source: {len(found)} different expressions of {source.min_length} to {source.max_length} "
                f"tokens were found, and {wanted} are asked for; widen min_length and max_length, raise max_depth or "
                "max_args, or lower train_size or eval_size."
            )
    texts, labels = list(found)[:wanted], list(found.values())[:wanted]
    return np.asarray(texts, object), np.asarray(labels, np.int32)


@dataclasses.dataclass
class _Level:
    """The nodes of one depth, of many trees: in the order of the trees, and of their parents in the level above.

    Attributes:
        tree: to which tree a node belongs.
        token: of a node; an operation's first one.
        num_args: children in the level below; 0 of digits.
        value: what it evaluates to.
        size: tokens of the whole subtree.
    """

    tree: np.ndarray
    token: np.ndarray
    num_args: np.ndarray
    value: np.ndarray
    size: np.ndarray

    def keep(self, chosen: np.ndarray) -> "_Level":
        """The nodes of some trees."""
        kept = chosen[self.tree]
        return _Level(*(getattr(self, field.name)[kept] for field in dataclasses.fields(self)))


def _some(source: Source, rng: np.random.Generator) -> dict[str, int]:
    """A few expressions of the right length, and their values."""
    levels, lengths = _grow(source, rng)
    fitting = (lengths >= source.min_length) & (lengths <= source.max_length)
    levels = [level.keep(fitting) for level in levels]
    if not fitting.any():
        return {}
    for level, below in reversed(list(zip(levels[:-1], levels[1:], strict=True))):
        _evaluate(level, below)
    words = TOKENS[_written(levels)].tolist()
    ends = np.cumsum(levels[0].size)
    texts = [" ".join(words[end - size : end]) for end, size in zip(ends, levels[0].size, strict=True)]
    return dict(zip(texts, levels[0].value.tolist(), strict=True))


def _grow(source: Source, rng: np.random.Generator) -> tuple[list[_Level], np.ndarray]:
    """Random trees, level by level, and their lengths; one that is too long already grows no more."""
    levels: list[_Level] = []
    lengths = np.zeros(TOGETHER, np.int64)
    tree = np.arange(TOGETHER)
    for depth in range(1, source.max_depth + 1):
        probability = OPERATION_PROBABILITY if depth < source.max_depth else 0
        operates = rng.random(len(tree)) < (1 if depth == 1 else probability)
        operates &= lengths[tree] <= source.max_length
        digits = rng.integers(10, size=len(tree))
        operations = FIRST_OPERATION + rng.integers(len(OPERATIONS), size=len(tree))
        num_args = np.where(operates, rng.integers(2, source.max_args + 1, size=len(tree)), 0)
        levels.append(_Level(tree, np.where(operates, operations, digits), num_args, digits, 1 + operates))
        lengths += np.bincount(tree, 1 + operates, TOGETHER).astype(np.int64)
        tree = np.repeat(tree, num_args)
    return levels, lengths


def _evaluate(level: _Level, below: _Level) -> None:
    """Fills in values and sizes of the operations of a level whose arguments are `below`."""
    operates = level.num_args > 0
    if not operates.any():
        return
    counts = level.num_args[operates]
    starts = np.cumsum(counts) - counts
    group = np.repeat(np.arange(len(counts)), counts)
    ordered = below.value[np.lexsort((below.value, group))]
    outcomes = [
        ordered[starts],
        ordered[starts + counts - 1],
        (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) // 2,
        np.add.reduceat(below.value, starts) % 10,
    ]
    level.value[operates] = np.choose(level.token[operates] - FIRST_OPERATION, outcomes)
    level.size[operates] += np.add.reduceat(below.size, starts)


def _written(levels: list[_Level]) -> np.ndarray:
    """The tokens of all trees, one behind the other."""
    tokens = np.empty(levels[0].size.sum(), np.int64)
    first = np.cumsum(levels[0].size) - levels[0].size  # Where each node's tokens begin.
    for level, below in zip(levels, [*levels[1:], None], strict=True):
        tokens[first + level.size - 1] = END
        tokens[first] = level.token
        if below is not None:
            parent = np.repeat(np.arange(len(first)), level.num_args)
            before = np.cumsum(below.size) - below.size
            starts = np.cumsum(level.num_args) - level.num_args
            eldest = np.minimum(starts, max(len(before) - 1, 0))[parent]
            first = (first + 1)[parent] + before - before[eldest]
    return tokens
