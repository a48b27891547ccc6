"""Runs on texts: what the data decide of a model, which tokenizer a run keeps, and mistakes through the command."""

from pathlib import Path

import numpy as np
import pytest
from etils import epath

from tests.train.runs import StopAt, rows
from train import config as configs
from train import evaluate, experiment, loop
from train.__main__ import main
from train.data import Data
from train.errors import USER_ERROR, Stopped, UserError, run_command

CONFIG = """
from pathlib import Path

from ml_collections import ConfigDict

HERE = Path(__file__).parent

SMALL = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 8, "dropout_rate": 0.0}
CHOICES = {
    "language": {
        "model": {"name": "gpt", **SMALL, "max_length": 8},
        "objective": {"name": "language_modeling"},
        "source": {"name": "text", "train": (f"{HERE}/train.txt",), "test": (f"{HERE}/test.txt",)},
        "tokenizer": "character",
        "layout": {"name": "language", "max_length": 8},
    },
    "classes": {
        "model": {"name": "bert", **SMALL, "head": "sequence", "max_length": 16, "num_classes": 2},
        "objective": {"name": "classification"},
        "source": {"name": "tsv", "path": f"{HERE}/table", "test": "test.tsv", "label": 1},
        "tokenizer": "word",
        "layout": {"name": "text", "max_length": 8},
    },
    "translation": {
        "model": {"name": "transformer", **SMALL, "tied": "none"},
        "objective": {"name": "sequence_to_sequence"},
        "source": {"name": "parallel_text", "path": f"{HERE}/parallel", "validation": None},
        "tokenizer": "word",
        "layout": {"name": "translation", "max_length": 8},
    },
}


def get_config(argument):
    chosen = CHOICES[argument]
    layout = {"layout": chosen["layout"], "tokenizer": {"name": chosen["tokenizer"]}}
    return ConfigDict({
        "model": chosen["model"],
        "objective": chosen["objective"],
        "data": {"source": chosen["source"], **layout, "batch_size": 4},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "evaluators": {"loss": {}},
        "log_every": 1,
        "steps": 4,
    })
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """A config, and the data that it reads."""
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "train.txt").write_text("abcab cab " * 20)
    (tmp_path / "test.txt").write_text("bacab cab xyz")
    for name in ("table", "parallel"):
        (tmp_path / name).mkdir()
    (tmp_path / "table" / "train.tsv").write_text("good film\tyes\nbad film\tno\n" * 4)
    (tmp_path / "table" / "test.tsv").write_text("good\tyes\nbad\tno\nnew\tno\n")
    for split in ("train", "test"):
        (tmp_path / "parallel" / f"{split}.en").write_text("a dog\nthe cat\n" * 2)
        (tmp_path / "parallel" / f"{split}.de").write_text("ein Hund\ndie Katze\n" * 2)
    return tmp_path


def change(folder: Path, text: str) -> None:
    """Another training text, which a process would see that starts now."""
    (folder / "train.txt").write_text(text)
    Data.vocabulary.cache_clear()
    Data.split.cache_clear()


def load(folder: Path, choice: str, *flags: str):
    return configs.load(f"{folder / 'config.py'}:{choice}", flags)


@pytest.mark.parametrize(
    "choice, expected",
    [
        ("language", {"vocab_size": 6 + 4}),
        ("classes", {"vocab_size": 6 + 3, "num_classes": 2}),
        ("translation", {"source_vocab_size": 6 + 8, "target_vocab_size": 6 + 8}),
    ],
)
def test_the_data_decide_what_a_config_leaves_open(choice, expected, folder):
    model = experiment.build(load(folder, choice)).model
    assert {field: getattr(model, field) for field in expected} == expected


@pytest.mark.parametrize("given", [6 + 3, 100])
def test_a_config_may_give_more_room_than_needed(given, folder):
    assert experiment.build(load(folder, "classes", f"model.vocab_size={given}")).model.vocab_size == given


def test_a_run_keeps_its_tokenizer(folder):
    """The training text changes, and with it the tokenizer that it would train; the run's own one stays."""
    config, workdir = load(folder, "language"), folder / "run"
    with pytest.raises(Stopped):
        loop.train(config, workdir, writer=StopAt(2))
    saved = (workdir / "tokenizer.json").read_text()
    change(folder, "quite another text of other characters " * 9)
    assert experiment.build(config).data.vocabulary().size != 6 + 4

    result = loop.train(config, workdir)
    assert (workdir / "tokenizer.json").read_text() == saved
    resumed = experiment.of_run(epath.Path(workdir), [])
    assert resumed.model.vocab_size == resumed.data.vocabulary().size == 6 + 4
    assert resumed.data.vocabulary().decode(resumed.data.vocabulary().encode(["cab xyz"])) == ["cab "]

    change(folder, "a third one, longer than a window")
    measured = evaluate.evaluate(epath.Path(workdir), [])
    assert measured == result.metrics and np.isfinite(measured["test/loss"])
    trained = [row for row in rows(workdir) if "train/loss" in row]
    assert [row["step"] for row in trained] == [1, 2, 3, 4]

    (workdir / "tokenizer.json").unlink()
    (workdir / "result.json").unlink()
    for use in (lambda: evaluate.evaluate(epath.Path(workdir), []), lambda: loop.train(config, workdir)):
        with pytest.raises(UserError, match="has no tokenizer.json, which training writes when it begins"):
            use()


def test_a_run_may_begin_with_the_tokenizer_of_another(folder):
    """As fine-tuning does, whatever the new texts are."""
    before = experiment.build(load(folder, "language")).data.vocabulary()
    before.save(epath.Path(folder) / "tokenizer.json")
    change(folder, "quite another text of other characters " * 9)
    flags = ["data.tokenizer.name=file", f"data.tokenizer.path={folder}"]
    built = experiment.build(load(folder, "language", *flags))
    assert built.model.vocab_size == before.size == 6 + 4
    assert built.data.vocabulary().encode(["cab xyz"])[0].tolist() == before.encode(["cab xyz"])[0].tolist()


# The user's mistakes: what is broken, flags, and what the one line must say.
MISTAKES = {
    "no such file": ("language", {}, ["data.source.train=nowhere.txt"], "source.train: 'nowhere.txt' does not exist"),
    "undecodable": ("language", {"train.txt": b"ab\ncaf\xe9\n"}, [], "train.txt:2: is not UTF-8 text"),
    "wrong number of columns": (
        "classes",
        {"table/train.tsv": b"good\tyes\nbad no\n"},
        [],
        "train.tsv:2: has 1 columns, and the first line has 2",
    ),
    "unknown label": (
        "classes",
        {"table/test.tsv": b"good\tyes\nbad\tnope\n"},
        [],
        "config.evaluators.loss.split: test.tsv:2: label 'nope' is unknown; did you mean 'no'? Allowed: no, yes.",
    ),
    "empty split": ("classes", {"table/test.tsv": b""}, [], "the table test.tsv is empty"),
    "sequence too long": (
        "classes",
        {"table/test.tsv": b"good\tyes\n1 2 3 4 5 6 7\tno\n"},
        [],
        "test.tsv:2: text has 7 tokens, and there is room for 6; raise config.data.layout.max_length",
    ),
    "lines without translation": (
        "translation",
        {"parallel/train.de": b"ein Hund\n"},
        [],
        "train.en:2: has no translation",
    ),
    "sequence longer than the model takes": (
        "classes",
        {},
        ["data.layout.max_length=17"],
        "config.model.max_length: 16 is too few; the data have 17 tokens in a sequence",
    ),
    "vocabulary too small": ("classes", {}, ["model.vocab_size=8"], "8 is too few; the data have 9 tokens"),
    "layout of other texts": (
        "classes",
        {},
        ["data.layout.name=translation"],
        "config.data.layout: the data have no 'source'; Allowed: label, origin, text",
    ),
    "unknown layout": ("classes", {}, ["data.layout.name=txt"], "did you mean 'text'"),
    "unknown tokenizer": ("classes", {}, ["data.tokenizer.name=words"], "did you mean 'word'"),
    "no tokenizer": ("classes", {}, ["data.tokenizer.name=None"], "config.data.tokenizer.name: is missing"),
    "truncated gz": ("translation", {"parallel/train.de": None}, [], "train.de.gz is no gzip file that can be read"),
}


@pytest.mark.parametrize("choice, files, flags, line", MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_clear_line(choice, files, flags, line, folder, capsys):
    for name, content in files.items():
        if content is None:
            (folder / name).unlink()
            name, content = f"{name}.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03K\xcc"
        (folder / name).write_bytes(content)
    given = [f"--config={folder / 'config.py'}:{choice}", *(f"--config.{flag}" for flag in flags)]
    assert run_command(lambda: main([*given, f"--workdir={folder / 'run'}"])) == USER_ERROR
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1, "one line"
    assert not (folder / "run").exists(), "nothing is written"


def test_cutting_is_said_where_it_is_asked_for(folder, caplog):
    (folder / "table" / "test.tsv").write_text("good\tyes\n1 2 3 4 5 6 7\tno\n")
    built = experiment.build(load(folder, "classes", "data.layout.truncate=True"))
    assert caplog.messages == ["split test: text is cut to 6 tokens in 1 of 2"]
    assert built.data.split("test")[np.arange(2)]["tokens"].shape == (2, 8)


def test_the_split_of_a_run_is_checked_before_it_begins(folder):
    with pytest.raises(UserError, match="config.evaluators.loss.split: split 'validation' does not exist"):
        experiment.build(load(folder, "classes", "evaluators.loss.split=validation"))
