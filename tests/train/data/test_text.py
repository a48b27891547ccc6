"""Plain text: from files, tables and prepared sets, whole or by the line, and what is held out by position."""

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train import config as configs
from train.data import Data
from train.data.sources import english, text, tfds
from train.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    (tmp_path / "poems" / "more").mkdir(parents=True)
    (tmp_path / "poems" / "b.txt").write_text("rose\n\n  \nviolet\n")
    (tmp_path / "poems" / "more" / "a.txt").write_text("lily")
    (tmp_path / "table.tsv").write_text("id\tsentence\n1\tone two\n2\tthree\n3\t\n")
    (tmp_path / "lines.en.gz").write_bytes(gzip.compress("für\nelise\n".encode()))
    with zipfile.ZipFile(tmp_path / "poems.zip", "w") as archive:
        archive.write(tmp_path / "poems" / "b.txt", "b.txt")
    return tmp_path


def pairs(source, split: str = "train") -> list[tuple[str, str]]:
    examples = source.split(split)
    columns = examples[np.arange(len(examples))]
    assert set(columns) == {"text", "origin"}
    return list(zip(columns["text"], columns["origin"], strict=True))


def texts(source, split: str = "train") -> list[str]:
    return [text for text, _ in pairs(source, split)]


def test_a_file_is_one_text(folder):
    assert pairs(text.Source(("poems/b.txt",))) == [("rose\n\n  \nviolet\n", "poems/b.txt")]


def test_a_line_is_one_text_and_an_empty_one_is_none(folder):
    given = pairs(text.Source(("poems/b.txt",), unit="line"))
    assert given == [("rose", "poems/b.txt:1"), ("violet", "poems/b.txt:4")]


@pytest.mark.parametrize("path", ["poems", "poems/"])
def test_a_folder_is_all_its_files(path, folder):
    given = pairs(text.Source((path,), unit="line"))
    assert given == [("rose", "poems/b.txt:1"), ("violet", "poems/b.txt:4"), ("lily", "poems/more/a.txt:1")]


def test_archives_are_read_in_place(folder):
    given = pairs(text.Source(("lines.en.gz", "poems.zip"), unit="line"))
    assert given[:2] == [("für", "lines.en.gz:1"), ("elise", "lines.en.gz:2")]
    assert given[2] == ("rose", "poems.zip/b.txt:1")


@pytest.mark.parametrize("unit", ["file", "line"])
def test_a_column_of_a_table(unit, folder):
    assert pairs(text.Source(("table.tsv:sentence",), unit=unit)) == [
        ("one two", "table.tsv:2"),
        ("three", "table.tsv:3"),
    ]
    assert texts(text.Source(("table.tsv:0",), unit=unit)) == ["id", "1", "2", "3"], "no header by position"
    (folder / "poems" / "titles.tsv").write_text("1\tode\n")
    assert pairs(text.Source(("poems/titles.tsv:1",), unit=unit)) == [("ode", "poems/titles.tsv:1")]


def test_splits_have_places_of_their_own(folder):
    source = text.Source(("poems/b.txt", "lines.en.gz"), validation=("table.tsv:1",), unit="line")
    assert source.splits() == ("train", "validation")
    assert texts(source) == ["rose", "violet", "für", "elise"]
    assert texts(source, "validation") == ["sentence", "one two", "three"]


def test_the_end_of_a_file_is_held_out_by_characters(folder):
    (folder / "ten.txt").write_text("0123456789")
    source = text.Source(("ten.txt",), validation_fraction=0.2, test_fraction=0.1)
    assert source.splits() == ("train", "validation", "test")
    assert [texts(source, split) for split in source.splits()] == [["0123456"], ["78"], ["9"]]
    assert texts(text.Source(("ten.txt",), validation_fraction=0.1)) == ["012345678"]


def test_lines_that_are_held_out_remain_whole(folder):
    (folder / "lines.txt").write_text("aaaa\nbbbb\ncc\n")
    source = text.Source(("lines.txt",), unit="line", validation_fraction=0.25)
    assert [texts(source, split) for split in source.splits()] == [["aaaa", "bbbb"], ["cc"]], "bbbb begins before 7.5"


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    fractions=st.tuples(st.floats(0, 0.4), st.floats(0, 0.4)),
    unit=st.sampled_from(["file", "line"]),
)
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_or_in_two_splits(lengths, fractions, unit):
    source = text.Source(("x",), unit=unit, validation_fraction=fractions[0], test_fraction=fractions[1])
    given = [(str(number), chr(97 + number) * length) for number, length in enumerate(lengths)]
    parts = [source._part(given, split) for split in ("train", "validation", "test")]
    whole = "".join(text for part in parts for _, text in part)
    assert whole == "".join(text for _, text in given)
    if unit == "line":
        assert [entry for part in parts for entry in part] == given


# What is given, and what the line must say.
MISTAKES = {
    "nothing": ((), {}, "config.data.source.train: names no text"),
    "no such file": (("nowhere.txt",), {}, "config.data.source.train: 'nowhere.txt' does not exist"),
    "no such table": (("nowhere.tsv:0",), {}, "config.data.source.train: 'nowhere.tsv' does not exist"),
    "no such column": (
        ("table.tsv:sentense",),
        {},
        "config.data.source.train: table.tsv:1 names no column 'sentense'; did you mean 'sentence'",
    ),
    "column of an archive": (
        ("x.zip:1",),
        {},
        "'x.zip:1' asks for a column of an archive; only a table, unpacked, has",
    ),
    "no such position": (("table.tsv:2",), {}, "config.data.source.train: table.tsv:1 has no column 2"),
    "blank file": (("poems", "blank.txt"), {}, "blank.txt: holds no text"),
    "blank lines": (("blank.txt",), {"unit": "line"}, "blank.txt: holds no text"),
    "empty folder": (("empty",), {}, "config.data.source.train: 'empty' holds no text"),
    "other encoding": (("latin.txt",), {}, "latin.txt:2: is not UTF-8 text"),
    "other encoding below": (("latin",), {}, "latin/below.txt:1: is not UTF-8 text"),
    "both ways to hold out": (
        ("poems",),
        {"validation": ("poems",), "validation_fraction": 0.1},
        "validation_fraction: is in conflict with config.data.source.validation",
    ),
    "a fraction of everything": (("poems",), {"test_fraction": 1.0}, "config.data.source.test_fraction: 1.0 is out of"),
    "nothing left": (("poems",), {"test_fraction": 0.5, "validation_fraction": 0.5}, "0.5 leaves no text for training"),
    "no such prepared set": (("tfds:mnist",), {}, "data set 'mnist' is not prepared"),
}


@pytest.mark.parametrize("train, fields, line", MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_clear_line(train, fields, line, folder, monkeypatch):
    (folder / "blank.txt").write_text(" \n\n")
    (folder / "empty").mkdir()
    (folder / "latin.txt").write_bytes("gut\nschön\n".encode("latin-1"))
    (folder / "latin").mkdir()
    (folder / "latin" / "below.txt").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "none"))
    with pytest.raises(UserError) as error:
        text.Source(train, **fields).split("train")
    assert line in str(error.value) and "\n" not in str(error.value)


def test_what_is_empty_is_counted(folder, caplog):
    (folder / "gaps.txt").write_text("one\n\ntwo\n \n")
    assert texts(text.Source(("gaps.txt",), unit="line")) == ["one", "two"]
    assert caplog.messages == ["gaps.txt: 2 of 4 texts are empty, and left out"]


def test_a_part_without_text_is_an_empty_split(folder):
    source = text.Source(("poems/more/a.txt",), validation_fraction=0.9999)
    with pytest.raises(UserError, match="split 'train' is empty"):
        Data(source, 1).split("train")


@pytest.mark.parametrize(
    "flag, value",
    [
        ("train=my.txt", ("my.txt",)),
        ("train=sst2/train.tsv:0", ("sst2/train.tsv:0",)),
        ("train=('sst2/train.tsv:0','tfds:tiny_shakespeare')", ("sst2/train.tsv:0", "tfds:tiny_shakespeare")),
        ("unit=line", "line"),
        ("validation_fraction=0.1", 0.1),
    ],
)
def test_places_are_flags(flag, value):
    flags = ["data.source.name=text", f"data.source.{flag}"]
    source = configs.load("configs/quickstart.py:mlp", flags).data.source
    assert source[flag.partition("=")[0]] == value


class TestShakespeare:
    """What TFDS prepared, found by TFDS_DATA_DIR or beside the checkout, is what position holds out."""

    @pytest.fixture
    def source(self, monkeypatch) -> text.Source:
        beside = Path(__file__).resolve().parents[4] / "shared" / "data" / "tfds"
        place = os.environ.get("TFDS_DATA_DIR", str(beside))
        if not (Path(place) / "tiny_shakespeare").exists():
            pytest.skip("tiny_shakespeare is not prepared; set TFDS_DATA_DIR")
        monkeypatch.setenv("TFDS_DATA_DIR", place)
        everywhere = ("tfds:tiny_shakespeare",)
        return text.Source(everywhere, validation=everywhere, test=everywhere)

    def test_a_split_is_that_of_the_same_name(self, source):
        for split in source.splits():
            ((whole, origin),) = pairs(source, split)
            assert origin == f"tfds:tiny_shakespeare {split} 0"
            theirs = tfds.Source("tiny_shakespeare").split(split)[np.zeros(1, int)]["text"][0]
            assert whole == theirs.decode()

    def test_lines(self, source):
        ((whole, _),) = pairs(source, "test")
        by_line = pairs(text.Source(source.train, test=source.test, unit="line"), "test")
        assert [line for line, _ in by_line] == [line for line in whole.split("\n") if line.strip()]

    def test_the_same_text_in_a_file_is_split_alike(self, source, tmp_path):
        """TFDS holds the last tenth out, half of it for each of the other splits."""
        whole = {split: texts(source, split)[0] for split in source.splits()}
        (tmp_path / "input.txt").write_text("".join(whole.values()))
        own = text.Source((str(tmp_path / "input.txt"),), validation_fraction=0.1)
        assert texts(own) == [whole["train"]]
        assert texts(own, "validation") == [whole["validation"] + whole["test"]]

    def test_a_prepared_set_without_such_text_is_refused(self, source):
        if not (Path(os.environ["TFDS_DATA_DIR"]) / "scan").exists():
            pytest.skip("scan is not prepared")
        with pytest.raises(UserError, match="config.data.source.train: 'tfds:scan/simple' has no entry 'text'; it has"):
            text.Source(("tfds:scan/simple",)).split("train")
        with pytest.raises(UserError, match="'tfds:scan/simple' has no split 'validation'; .*Allowed: test, train"):
            text.Source(source.train, validation=("tfds:scan/simple",)).split("validation")


class TestEnglish:
    def test_splits_are_topics_in_alphabetical_order(self):
        from pydoc_data.topics import topics

        given = [pair for split in ("train", "validation", "test") for pair in pairs(english.Source(), split)]
        assert [text for text, _ in given] == [topics[name] for name in sorted(topics)]
        counts = [len(english.Source().split(split)) for split in english.Source().splits()]
        shares = np.asarray(counts) / len(topics)
        np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=1 / len(topics))

    def test_it_is_enough_to_train_on(self):
        assert sum(map(len, texts(english.Source()))) > 250_000

    def test_paragraphs_are_the_text_of_topics(self):
        for split in english.Source().splits():
            paragraphs, topics = texts(english.Source("paragraph"), split), texts(english.Source(), split)
            assert len(paragraphs) > 10 * len(topics) and all(text.strip() for text in paragraphs)
            assert "".join("".join(paragraphs).split()) == "".join("".join(topics).split())
