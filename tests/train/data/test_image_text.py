"""Pictures meet their texts; a pair that lacks something is refused, or left out and counted."""

import io
import json
import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train import config as configs
from train.data.sources.image_text import Source
from train.errors import UserError
from train.experiment import build

NAMES = ("red", "green", "blue", "black", "white", "gray", "pink", "lime", "navy", "gold")


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "png")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Squares of ten colours, with a table of both kinds that says their names."""
    (tmp_path / "squares").mkdir()
    for name in NAMES:
        (tmp_path / "squares" / f"{name}.png").write_bytes(png(name))
    entries = [{"name": name, "tags": ["colour", name], "length": len(name) % 2, "deep": {"a": 1}} for name in NAMES]
    (tmp_path / "colours.json").write_text(json.dumps(entries))
    rows = ["name\ttags\tlength", *(f"{name}\tcolour, {name}\t{len(name) % 2}" for name in NAMES)]
    (tmp_path / "colours.tsv").write_text("\n".join(rows))
    return tmp_path


def source(folder: Path, **fields) -> Source:
    given = {"images": str(folder), "table": "colours.json", "file": "squares/{name}.png", "text": "it is {name}"}
    return Source(**{**given, **fields})


def whole(examples) -> dict[str, np.ndarray]:
    return examples[np.arange(len(examples))]


@pytest.mark.parametrize("table, first", [("colours.json", "colours.json: entry 0"), ("colours.tsv", "colours.tsv:2")])
def test_pictures_meet_their_texts(folder, table, first):
    pairs = source(folder, table=table, text="{name} of {tags}", label="length")
    assert pairs.splits() == ("train", "validation", "test") and pairs.classes == ("0", "1")
    batches = [whole(pairs.split(name)) for name in pairs.splits()]
    assert [len(batch["text"]) for batch in batches] == [8, 1, 1]
    seen = set()
    for batch in batches:
        for image, text, label in zip(batch["image"], batch["text"], batch["label"], strict=True):
            name = text.partition(" ")[0]
            assert text == f"{name} of colour, {name}" and label == len(name) % 2
            np.testing.assert_array_equal(image, np.asarray(Image.new("RGB", (4, 4), name)))
            seen.add(name)
    assert seen == set(NAMES)
    assert first in np.concatenate([batch["origin"] for batch in batches])


def test_a_table_elsewhere(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "colours.json"
    (folder / "colours.json").rename(elsewhere)
    texts = source(folder, table=str(elsewhere)).split("train").column("text")
    np.testing.assert_array_equal(texts, source(folder, table="colours.tsv").split("train").column("text"))


def test_all_texts_of_a_picture_are_in_one_split(folder):
    rows = [f"{name}\t{number}" for number in range(3) for name in NAMES]
    (folder / "more.tsv").write_text("\n".join(["name\tnumber", *rows]))
    pairs = source(folder, table="more.tsv", text="{number} {name}")
    for split in pairs.splits():
        texts = pairs.split(split).column("text")
        names = {text.split()[1] for text in texts}
        assert len(texts) == 3 * len(names)


def test_classes_have_names(folder):
    named = source(folder, label="length", labels=("1", "0"), class_names=("odd", "even"))
    assert named.classes == ("odd", "even") and named.num_classes == 2
    batch = whole(named.split("train"))
    for text, label in zip(batch["text"], batch["label"], strict=True):
        assert named.classes[label] == ("even", "odd")[len(text.removeprefix("it is ")) % 2]


def test_paths_may_differ_in_what_is_ignored(folder):
    for name in NAMES:
        (folder / "squares" / f"{name}.png").rename(folder / "squares" / f"{name}-fe0f.png")
    (folder / "colours.tsv").write_text("\n".join(["name", *(f"00{name.upper()}" for name in NAMES)]))
    fields = {"table": "colours.tsv", "ignore_case": True, "ignore": r"-fe0f|\b0+"}
    assert whole(source(folder, **fields).split("train"))["image"].shape == (8, 4, 4, 3)
    (folder / "squares" / "00red.png").write_bytes(png("red"))
    with pytest.raises(
        UserError, match="source.ignore: squares/00red.png and squares/red-fe0f.png are the same picture"
    ):
        source(folder, **fields).splits()


def test_incomplete_pairs_are_refused_or_counted(folder, caplog):
    (folder / "squares" / "pink.png").unlink()
    entries = json.loads((folder / "colours.json").read_text())
    entries[0]["tags"], entries[1]["tags"] = None, ""
    (folder / "colours.json").write_text(json.dumps(entries))
    fields = {"text": "{tags}", "fractions": (0.6, 0.2, 0.2)}
    with pytest.raises(UserError, match="^colours.json: entry 0: has no 'tags'; complete it, or set .*skip_incomplete"):
        source(folder, **fields).splits()
    with pytest.raises(UserError, match="^colours.json: entry 6: has no picture 'squares/pink.png' in "):
        source(folder).splits()
    with caplog.at_level(logging.WARNING):
        pairs = source(folder, skip_incomplete=True, **fields)
        assert sum(len(pairs.split(name)) for name in pairs.splits()) == 7
    assert caplog.messages == ["colours.json: 3 of 10 pairs are left out: 2 have no 'tags', 1 have no picture"]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"images": "absent"}, "config.data.source.images: 'absent' does not exist"),
        ({"table": "absent.tsv"}, "config.data.source.table: 'absent.tsv' does not exist"),
        ({"table": "squares/red.png"}, "config.data.source.table: squares/red.png is no .tsv and no .json file"),
        ({"file": "{nam}.png"}, "config.data.source: colours.json has no column 'nam'; did you mean 'name'?"),
        ({"text": "name"}, "config.data.source.text: 'name' names no {column} of the table"),
        ({"text": "{deep}"}, "config.data.source: colours.json has no column 'deep'"),
        ({"label": "size"}, "config.data.source: colours.json has no column 'size'"),
        ({"labels": ("0",)}, "config.data.source.labels: does nothing without config.data.source.label"),
        ({"label": "length", "labels": ("0",)}, "label '1' is not in the training split, or not in"),
        ({"label": "length", "class_names": ("a",)}, "config.data.source.class_names: has 1 names for 2 classes: 0, 1"),
        ({"label": "length", "labels": ("0", "0")}, "config.data.source.labels: names '0' twice"),
        ({"ignore": "("}, "config.data.source.ignore: '(' is no regular expression"),
        ({"fractions": (0.5, 0.6, 0.0)}, "config.data.source.fractions: (0.5, 0.6, 0.0) must be parts"),
        ({"image_size": -1}, "config.data.source.image_size: -1 is less than 1"),
        ({"file": "{tags}", "skip_incomplete": True}, "config.data.source.table: colours.json has no pair with all"),
    ],
)
def test_mistakes_are_named(folder, fields, message):
    with pytest.raises(UserError, match=re.escape(message)):
        pairs = source(folder, **fields)
        assert pairs.num_classes is None or pairs.num_classes > 0
        pairs.split("train")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("bad.json", '[\n{"name": }]', "bad.json:2: is no JSON: Expecting value"),
        ("bad.json", '{"name": "red"}', "bad.json: is no list of objects"),
        ("bad.tsv", "name\ttag\nred", "bad.tsv:2: has 1 columns, and the first line has 2"),
        ("bad.tsv", "", "config.data.source.table: bad.tsv has no row"),
        ("bad.tsv", "name\ttag\n", "config.data.source.table: bad.tsv has no row"),
        ("bad.json", "[]", "config.data.source.table: bad.json has no row"),
        ("bad.json", "[" * 100_000, "bad.json: is nested too deeply to be read"),
    ],
)
def test_a_table_that_cannot_be_read(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        source(folder, table=name).splits()


def test_clip_reads_them_as_tokens(folder):
    overrides = [
        "data.source.name=image_text",
        f"data.source.images={folder}",
        "data.source.table=colours.tsv",
        "data.source.file=squares/{name}.png",
        "data.source.text=it is {name}",
        "data.tokenizer.name=word",
        "data.layout.name=text",
        "data.layout.max_length=8",
        "data.batch_size=4",
        "model.vocab_size=40",
        "model.end_token=4",
        "model.max_length=8",
    ]
    experiment = build(configs.load("configs/captions.py:clip", overrides))
    assert {"image": (4, 4, 4, 3), "tokens": (4, 8), "mask": (4, 8)} == {
        name: value.shape for name, value in experiment.spec.items()
    }


def twemoji() -> Path:
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get("DATA_DIR", str(beside))) / "twemoji"
    if not folder.exists():
        pytest.skip("the pictures of Twemoji are not in DATA_DIR/twemoji")
    return folder


def test_twemoji(caplog):
    emoji = Source(
        images=str(twemoji() / "twemoji_72x72.tar.gz"),
        table=str(twemoji() / "emojibase.data.json"),
        file="twemoji/assets/72x72/{hexcode}.png",
        text="{label}",
        label="group",
        ignore=r"-fe0f|(?<![0-9a-f])0+",
        ignore_case=True,
        skip_incomplete=True,
        image_size=36,
    )
    with caplog.at_level(logging.WARNING):
        test = emoji.split("test")
    assert "26 of 1941 pairs are left out: 26 have no 'group'" in caplog.text
    assert emoji.classes == tuple("0123456789") and len(test) == 191 and len(emoji.split("train")) == 1532
    batch = test[np.arange(3)]
    assert batch["image"].shape == (3, 36, 36, 3) and batch["image"][:, 0, 0].min() == 255, "corners are transparent"
