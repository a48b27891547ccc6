"""Tables of text: columns by position or name, classes by number, and every mistake with its line."""

from pathlib import Path

import numpy as np
import pytest

from train import config as configs
from train.data import Data
from train.data.sources import tsv
from train.errors import UserError

PLAIN = "good film\t1\nbad film\t0\nfine\t1\n"
NAMED = "id\tsentence_A\tsentence_B\tscore\tjudgment\n7\ta dog\ta cat\t3.5\tNEUTRAL\n8\tone\ttwo\t4\tENTAILMENT\n"


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "train.tsv") -> Path:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


def all_of(source: tsv.Source, split: str = "train") -> dict[str, list]:
    examples = source.split(split)
    return {name: array.tolist() for name, array in examples[np.arange(len(examples))].items()}


def test_columns_by_position(write):
    source = tsv.Source(str(write(PLAIN)), label=1)
    assert source.num_classes == 2 and source.splits() == ("train",)
    assert all_of(source) == {
        "text": ["good film", "bad film", "fine"],
        "label": [1, 0, 1],
        "origin": ["train.tsv:1", "train.tsv:2", "train.tsv:3"],
    }


@pytest.mark.parametrize("second, label", [("sentence_B", "judgment"), (2, 4)])
def test_columns_by_name_or_by_position_below_a_header(second, label, write):
    source = tsv.Source(str(write(NAMED)), text="sentence_A", text_pair=second, label=label, header=True)
    assert all_of(source) == {
        "text": ["a dog", "one"],
        "text_pair": ["a cat", "two"],
        "label": [1, 0],
        "origin": ["train.tsv:2", "train.tsv:3"],
    }


def test_labels_are_numbered_as_given_or_by_the_training_split(write):
    path = str(write("b\tlow\nc\thigh\n", "test.tsv"))
    write("a\thigh\nb\tlow\n")
    assert all_of(tsv.Source(path, test="test.tsv", label=1), "test")["label"] == [1, 0]
    assert all_of(tsv.Source(path, test="test.tsv", label=1, labels=("low", "high")), "test")["label"] == [0, 1]
    assert tsv.Source(path, label=1, labels=("low", "high", "none")).num_classes == 3


def test_without_a_label_there_are_no_classes(write):
    source = tsv.Source(str(write(PLAIN)))
    assert source.num_classes is None and "label" not in all_of(source)


def test_a_text_may_be_empty_and_hold_quotes(write):
    assert all_of(tsv.Source(str(write('"a\t1\n\t0\n'))))["text"] == ['"a', ""]


# What a table holds, what is asked of it, and what the line must say.
MISTAKES = {
    "too many columns": (PLAIN + "a\tb\tc\n", {}, r"^train.tsv:4: has 3 columns, and the first line has 2"),
    "too few columns": ("a\t1\n\nb\t0\n", {}, r"^train.tsv:2: has 1 columns"),
    "unknown label": (PLAIN + "x\tpositive\n", {"label": 1, "labels": ("0", "1")}, r"^train.tsv:4: label 'positive'"),
    "near label": ("a\tlow\nb\tlov\n", {"label": 1, "labels": ("low",)}, r"train.tsv:2: .*did you mean 'low'"),
    "no label": (PLAIN + "x\t\n", {"label": 1}, r"^train.tsv:4: has no label"),
    "no such position": (PLAIN, {"label": 2}, r"config.data.source.label: train.tsv:1 has no column 2, but 2"),
    "no such name": (
        NAMED,
        {"text": "sentence_C", "header": True},
        r"config.data.source.text: train.tsv:1 names no column 'sentence_C'; did you mean 'sentence_[AB]'",
    ),
    "empty": ("", {}, r"the table train.tsv is empty"),
    "nothing below the header": (NAMED.partition("\n")[0] + "\n", {"header": True}, r"the table train.tsv is empty"),
    "no text": (PLAIN.encode() + b"caf\xe9\t1\n", {}, r"^train.tsv:4: is not UTF-8 text"),
    "no such file": (PLAIN, {"train": "trian.tsv"}, r"config.data.source.train: .*did you mean 'train.tsv'"),
}


@pytest.mark.parametrize("content, fields, line", MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_names_file_and_line(content, fields, line, write):
    source = tsv.Source(str(write(content)), **fields)
    with pytest.raises(UserError, match=line) as error:
        source.split("train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields, line",
    [
        ({"text": "sentence_A"}, "'sentence_A' is a name, which needs config.data.source.header=True"),
        ({"label": -1}, "config.data.source.label: -1 is out of range"),
        ({"labels": ("a",)}, "does nothing without config.data.source.label"),
        ({"label": 1, "labels": ("a", "b", "a")}, "config.data.source.labels: names 'a' twice"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, line):
    with pytest.raises(UserError, match=line):
        tsv.Source("anywhere", **fields)


def test_an_unknown_split_is_refused(write):
    with pytest.raises(UserError, match="split 'test' does not exist. Allowed: train"):
        Data(tsv.Source(str(write(PLAIN))), 1).split("test")


@pytest.mark.parametrize(
    "flag, value",
    [
        ("text=sentence_A", "sentence_A"),
        ("text=4", 4),
        ("label=judgment", "judgment"),
        ("label=4", 4),
        ("text_pair=None", None),
        ("labels=('NEUTRAL','ENTAILMENT')", ("NEUTRAL", "ENTAILMENT")),
        ("labels=only", ("only",)),
        ("path=some/where.zip", "some/where.zip"),
    ],
)
def test_columns_are_flags(flag, value):
    flags = ["data.source.name=tsv", "data.source.path=x", f"data.source.{flag}"]
    source = configs.load("configs/quickstart.py:mlp", flags).data.source
    assert source[flag.partition("=")[0]] == value
