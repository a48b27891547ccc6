"""Pictures keep their colours, are brought to one size as said, and those that cannot be read are named."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.data import Data, EvaluationBatches, TrainingBatches, sequences
from train.data.feeding import on_devices
from train.data.sources.image_folder import Source
from train.errors import UserError
from train.mesh import MeshShape


def png(array, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8), mode).save(file, "png")
    return file.getvalue()


def save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Pictures of 4x6 pixels, each of one colour that tells its class and number."""
    for split, count in (("train", 6), ("test", 3)):
        for number, name in enumerate(("cat", "dog")):
            for index in range(count):
                save(tmp_path / split / name / f"{index}.png", png(np.full((4, 6, 3), (10 * number, index, 99))))
    return tmp_path


def source(path: Path, **fields) -> Source:
    return Source(**{"path": str(path), "split_by": "folder", **fields})


def whole(examples) -> dict[str, np.ndarray]:
    return examples[np.arange(len(examples))]


def test_pictures_and_labels_belong_together(folder):
    pictures = source(folder)
    assert pictures.splits() == ("train", "test") and pictures.classes == ("cat", "dog") and pictures.num_classes == 2
    batch = whole(pictures.split("test"))
    assert batch["image"].shape == (6, 4, 6, 3) and batch["image"].dtype == np.uint8
    for image, label, origin in zip(batch["image"], batch["label"], batch["origin"], strict=True):
        assert origin.startswith(f"test/{('cat', 'dog')[label]}/")
        index = int(Path(origin).stem)
        np.testing.assert_array_equal(image, np.full((4, 6, 3), (10 * label, index, 99)))


def test_an_archive_reads_as_its_folder(folder, tmp_path_factory):
    archive = tmp_path_factory.mktemp("archive") / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, path.relative_to(folder))
        file.writestr("__MACOSX/._0.png", "no picture")
    for name in ("train", "test"):
        inside, outside = (whole(source(path).split(name)) for path in (archive, folder))
        for key, value in outside.items():
            np.testing.assert_array_equal(inside[key], value)


def one(tmp_path: Path, content: bytes, name: str = "x.png", **fields) -> np.ndarray:
    save(tmp_path / "a" / name, content)
    examples = source(tmp_path, split_by="random", fractions=(1.0, 0.0, 0.0), **fields).split("train")
    return whole(examples)["image"][0]


def test_transparent_pictures_lie_on_white(tmp_path):
    image = one(tmp_path, png([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 128]]], "RGBA"))
    np.testing.assert_array_equal(image, [[[200, 0, 0], [255, 255, 255], [127, 127, 127]]])


def test_transparent_colours_of_a_palette_lie_on_white(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 8, 7, 6, 5, 4])
    file = io.BytesIO()
    palette.save(file, "png", transparency=1)
    np.testing.assert_array_equal(one(tmp_path, file.getvalue()), [[[9, 8, 7], [255, 255, 255]]])


@pytest.mark.parametrize("mode, channels", [("RGB", 3), ("L", 1)])
def test_gray_and_colour(tmp_path, mode, channels):
    assert one(tmp_path, png(np.full((2, 2), 50)), mode=mode).tolist() == [[[50] * channels] * 2] * 2


def test_the_middle_is_brought_to_one_size(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 8, 3), np.uint8))
    scaled = np.asarray(picture.resize((4, 2), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(one(tmp_path, png(picture), image_size=2), scaled[:, 1:3])


def test_capital_endings_are_pictures_too(tmp_path):
    assert one(tmp_path, png(np.zeros((2, 2))), "X.PNG").shape == (2, 2, 3)


def test_sizes_that_differ_need_one(folder):
    save(folder / "test" / "cat" / "9.png", png(np.zeros((5, 6))))
    with pytest.raises(
        UserError, match=r"test/cat/9.png: has 6x5 pixels, and train/cat/0.png has 6x4; set .*image_size"
    ):
        source(folder).split("test")
    assert whole(source(folder, image_size=3).split("test"))["image"].shape == (7, 3, 3, 3)


@pytest.mark.parametrize("image_size", [None, 3])
@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", png(np.random.default_rng(0).integers(0, 255, (4, 6, 3)))[:80]],
    ids=["empty", "no", "cut"],
)
def test_a_broken_picture_is_named(folder, content, image_size):
    save(folder / "train" / "cat" / "3.png", content)
    batches = EvaluationBatches(Data(source(folder, image_size=image_size), batch_size=4), None, "train", slice(0, 4))
    with pytest.raises(UserError, match="^train/cat/3.png: is no picture that can be read"):
        list(on_devices(batches, MeshShape().build()))


def test_more_than_8_bits_are_refused(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2), 1000, np.uint16)).save(file, "png")
    with pytest.raises(UserError, match=r"a/x.png: has more than 8 bits a colour \(I;16\); convert it"):
        one(tmp_path, file.getvalue())


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"image_size": 0}, "config.data.source.image_size: 0 is less than 1"),
        (
            {"labels": ("dog",)},
            "test/cat/0.png: label 'cat' is not in the training split, or not in config.data.source",
        ),
        ({"labels": ("cat", "cat")}, "config.data.source.labels: names 'cat' twice"),
        ({"path": "absent"}, "config.data.source.path: 'absent' does not exist"),
    ],
)
def test_mistakes_are_named(folder, fields, message):
    with pytest.raises(UserError, match=re.escape(message)):
        source(**{"path": folder, **fields}).split("test")


def test_labels_are_known_without_decoding(folder):
    save(folder / "train" / "dog" / "5.png", b"no picture")
    examples = Data(source(folder, image_size=2), batch_size=2).split("train")
    assert sorted(sequences.column(examples, "label")) == [0] * 6 + [1] * 6


def test_a_training_batch_is_scaled(folder):
    batch = TrainingBatches(Data(source(folder), batch_size=4), "rows", 0, 3, slice(0, 4))[2]
    assert set(batch) == {"sequence", "label"} and batch["sequence"].shape == (4, 4, 18)
    np.testing.assert_allclose(batch["sequence"][:, :, 2::3], 99 / 255)
