"""Two files of lines, one the translation of the other."""

import gzip
import tarfile

import numpy as np
import pytest

from train.data import Data
from train.data.sources import parallel_text
from train.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(**files: str | bytes) -> str:
        """Files by name, _ standing for the dot."""
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path)

    return write


def columns(source, split: str = "train") -> dict[str, list]:
    examples = source.split(split)
    return {name: array.tolist() for name, array in examples[np.arange(len(examples))].items()}


GIVEN = {"train_en": "a dog\na cat\n", "train_de": "ein Hund\neine Katze"}


def test_lines_are_pairs(write):
    assert columns(parallel_text.Source(write(**GIVEN))) == {
        "source": ["a dog", "a cat"],
        "target": ["ein Hund", "eine Katze"],
        "origin": ["train.en and train.de:1", "train.en and train.de:2"],
    }


def test_languages_splits_and_packing_are_chosen(write, tmp_path):
    write(val_de_gz=gzip.compress("für\n".encode()), val_fr="pour\n", train_de="eins\n", train_fr="un\n")
    with tarfile.open(tmp_path / "all.tgz", "w:gz") as archive:
        for path in sorted(tmp_path.iterdir()):
            if path.suffix != ".tgz":
                archive.add(path, path.name)
    for path in (tmp_path, tmp_path / "all.tgz"):
        source = parallel_text.Source(str(path), source="de", target="fr", validation="val", test=None)
        assert source.splits() == ("train", "validation")
        given = columns(source, "validation")
        assert (given["source"], given["target"]) == (["für"], ["pour"])
        assert given["origin"] == ["val.de.gz and val.fr:1"]


MISTAKES = {
    "a line too many": (
        {**GIVEN, "train_en": "a\nb\nc\nd\n"},
        r"^train.en:3: has no translation: train.de ends at line 2, and train.en at line 4",
    ),
    "a translation too many": (
        {**GIVEN, "train_de": "a\nb\nc\n"},
        r"^train.de:3: has no translation: train.en ends at line 2",
    ),
    "an empty line": ({**GIVEN, "train_de": "ein Hund\n \n"}, r"^train.de:2: is empty"),
    "an empty line at the end": ({**GIVEN, "train_en": "a dog\na cat\n\n"}, r"^train.en:3: is empty"),
    "no text": ({**GIVEN, "train_de": b"ein Hund\nK\xe4tzchen\n"}, r"^train.de:2: is not UTF-8"),
    "no file": (
        {"train_en": "a dog\n"},
        r"config.data.source.train: .* has no file 'train.de'; did you mean 'train.en'",
    ),
}


@pytest.mark.parametrize("files, line", MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_names_file_and_line(files, line, write):
    with pytest.raises(UserError, match=line):
        parallel_text.Source(write(**files)).split("train")


def test_splits_that_are_not_there(write):
    path = write(**GIVEN, test_en="", test_de="")
    with pytest.raises(UserError, match="config.data.source.validation: .* has no file 'validation.en'"):
        parallel_text.Source(path).split("validation")
    with pytest.raises(UserError, match="split 'test' does not exist. Allowed: train, validation"):
        Data(parallel_text.Source(path, test=None), 1).split("test")
    with pytest.raises(UserError, match="split 'test' is empty"):
        Data(parallel_text.Source(path), 1).split("test")
    with pytest.raises(UserError, match="config.data.source.path: '/nowhere' does not exist"):
        parallel_text.Source("/nowhere").split("train")
