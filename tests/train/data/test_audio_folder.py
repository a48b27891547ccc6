"""Recordings are read exactly, padded or cut as asked; labels and splits come from paths; mistakes name their file."""

import io
import logging
import os
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
from flax.core import FrozenDict
from scipy.io import wavfile

from train.data import Data, TrainingBatches
from train.data.augmentations import random_time_shift
from train.data.sources.audio_folder import Source
from train.errors import UserError

RATE = 8000
NAMED = {"pattern": r"(?P<label>\d)_(?P<speaker>[^_/]+)_\d+\.wav$"}
BY_SPEAKER = {**NAMED, "split_by": "speaker", "test": ("bo",)}


def tone(length: int) -> np.ndarray:
    return (8000 * np.sin(np.arange(length))).astype(np.int16)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Recordings 0_ann_0.wav to 1_bo_4.wav, as long as the sum of their numbers and 10."""
    for label in range(2):
        for speaker in ("ann", "bo"):
            for index in range(5):
                wavfile.write(tmp_path / f"{label}_{speaker}_{index}.wav", RATE, tone(10 + label + index))
    return tmp_path


def source(path: Path, **fields) -> Source:
    return Source(**{"path": str(path), "num_samples": 20, "sample_rate": RATE, **fields})


def test_recordings_are_padded_and_labelled(folder):
    examples = source(folder, **BY_SPEAKER).split("test")
    batch = examples[np.arange(len(examples))]
    assert batch["audio"].shape == (10, 20) and batch["audio"].dtype == np.float32
    columns = (batch[key] for key in ("audio", "audio_mask", "label", "origin"))
    for audio, mask, label, origin in zip(*columns, strict=True):
        assert origin.startswith(f"{label}_bo_")
        _, samples = wavfile.read(folder / origin)
        np.testing.assert_array_equal(audio[mask] * 32768, samples)
        np.testing.assert_array_equal(mask, np.arange(20) < len(samples))
        assert not audio[~mask].any()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("width, kind", [(1, "u1"), (2, "i2"), (3, "i4"), (4, "i4"), (4, "f4"), (8, "f8")])
def test_all_kinds_of_samples_are_read_alike(tmp_path, width, kind, channels):
    values = np.linspace(-1, 0.75, 15 * channels).reshape(15, channels)
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "x.wav"
    if kind[0] == "f":
        wavfile.write(file, RATE, values.astype(kind))
    else:
        largest = 2 ** (8 * width - 1)
        whole = np.round(values * largest).astype(np.int64) + (128 if width == 1 else 0)
        with wave.open(str(file), "wb") as writer:
            writer.setparams((channels, width, RATE, 0, "NONE", ""))
            writer.writeframes(b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in whole.ravel()))
    audio = source(tmp_path, num_samples=15, fractions=(1.0, 0.0, 0.0)).split("train")[np.zeros(1, int)]["audio"][0]
    step = 0 if kind[0] == "f" else 2.0 ** -(8 * width - 1)
    np.testing.assert_allclose(audio, values.mean(axis=1), atol=step / 2 + 1e-6)


def test_long_recordings_are_refused_or_cut_and_counted(folder, caplog):
    fields = {"num_samples": 12, **BY_SPEAKER}
    with pytest.raises(UserError, match=r"0_bo_3.wav: has 13 samples, and there is room for 12; .*truncate=True"):
        source(folder, **fields).split("test")
    with caplog.at_level(logging.WARNING):
        examples = source(folder, truncate=True, **fields).split("test")
    assert "split test: 5 of 10 recordings are cut to 12 samples" in caplog.text
    last = examples[np.array([9])]
    np.testing.assert_array_equal(last["audio"][0] * 32768, tone(15)[:12])
    assert last["audio_mask"].all()


class TestSplits:
    def test_random_ones_hold_everything_once_and_stay_the_same(self, folder):
        random = source(folder, **NAMED)
        origins = [list(random.split(name).column("origin")) for name in random.splits()]
        assert list(map(len, origins)) == [16, 2, 2]
        assert sorted(sum(origins, [])) == sorted(file.name for file in folder.iterdir())
        again = source(folder, **NAMED)
        assert origins == [list(again.split(name).column("origin")) for name in again.splits()]

    def test_no_speaker_is_in_two(self, folder):
        by_speaker = source(folder, **BY_SPEAKER)
        assert by_speaker.splits() == ("train", "test")
        for name, speaker in (("train", "ann"), ("test", "bo")):
            origins = by_speaker.split(name).column("origin")
            assert len(origins) == 10 and all(f"_{speaker}_" in origin for origin in origins)

    def test_folders(self, folder):
        for file in list(folder.iterdir()):
            target = folder / "set" / ("train" if "_ann_" in file.name else "validation") / f"digit{file.name[0]}"
            target.mkdir(parents=True, exist_ok=True)
            file.rename(target / file.name)
        by_folder = source(folder, split_by="folder")
        assert by_folder.splits() == ("train", "validation") and by_folder.classes == ("digit0", "digit1")
        assert all("_bo_" in origin for origin in by_folder.split("validation").column("origin"))
        (folder / "set" / "0_ann_0.wav").write_bytes(b"")
        with pytest.raises(UserError, match="set/0_ann_0.wav: lies in 0 folders named train, validation, test"):
            source(folder, split_by="folder").splits()

    def test_classes_take_the_order_they_are_given_in(self, folder):
        given = source(folder, labels=("1", "0"), **BY_SPEAKER)
        np.testing.assert_array_equal(given.split("test").column("label"), [1] * 5 + [0] * 5)
        assert given.num_classes == 2


def test_an_archive_is_read_in_place(folder, tmp_path_factory):
    archive = tmp_path_factory.mktemp("archive") / "set.tar.gz"
    (folder / "README.md").write_text("not a recording")
    (folder / "._0_ann_0.wav").write_text("what a Mac leaves")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname="recordings")
    inside, outside = (source(path, **BY_SPEAKER).split("train") for path in (archive, folder))
    indices = np.array([7, 0, 7])
    np.testing.assert_array_equal(inside[indices]["audio"], outside[indices]["audio"])
    assert list(inside.column("origin")) == [f"recordings/{name}" for name in outside.column("origin")]


def cut(content: bytes) -> bytes:
    return content[:-4]


def not_finite(_: bytes) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, RATE, np.array([0, np.nan], np.float32))
    return file.getvalue()


def other_rate(_: bytes) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, 16000, tone(10))
    return file.getvalue()


def silent(_: bytes) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, RATE, tone(0))
    return file.getvalue()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (cut, "0_ann_2.wav: is no wav file that can be read"),
        (lambda content: content[:30], "0_ann_2.wav: is no wav file that can be read"),
        (lambda content: b"", "0_ann_2.wav: is no wav file that can be read"),
        (lambda content: b"ID3 an mp3 by another name", "0_ann_2.wav: is no wav file that can be read"),
        (other_rate, "0_ann_2.wav: has 16000 samples a second, and config.data.source.sample_rate is 8000"),
        (silent, "0_ann_2.wav: has no samples"),
        (not_finite, "0_ann_2.wav: has samples that are not finite"),
    ],
)
def test_a_spoilt_recording_is_named_before_training(folder, spoil, message):
    file = folder / "0_ann_2.wav"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(UserError) as error:
        source(folder, **BY_SPEAKER).split("train")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"path": "nowhere"}, "config.data.source.path: 'nowhere' does not exist"),
        ({"num_samples": 0}, "config.data.source.num_samples: 0 is less than 1"),
        ({"pattern": "("}, "config.data.source.pattern: '(' is no regular expression"),
        ({"pattern": "x"}, "config.data.source.pattern: 'x' has no group (?P<label>...)"),
        ({"pattern": "(?P<label>x)_"}, "0_ann_0.wav: config.data.source.pattern, '(?P<label>x)_', is not found"),
        ({"pattern": "(?P<label>x?)_"}, "0_ann_0.wav: config.data.source.pattern, '(?P<label>x?)_', finds no label"),
        ({"split_by": "speaker"}, "config.data.source.split_by: 'speaker' is no group of the pattern"),
        ({"test": ("bo",)}, "config.data.source.test: does nothing unless"),
        ({"fractions": (0.5, 0.5, 0.5)}, "config.data.source.fractions: (0.5, 0.5, 0.5) must be parts"),
        ({"fractions": (0.9, 0.09, 0.01), **NAMED}, "config.data.source.fractions: (0.9, 0.09, 0.01) of 20 examples"),
        ({"split_by": "folder", **NAMED}, "0_ann_0.wav: lies in 0 folders named train, validation, test"),
        ({**BY_SPEAKER, "test": ("boo",)}, "config.data.source.test: no file has speaker 'boo'; did you mean 'bo'?"),
        ({**BY_SPEAKER, "test": ()}, "config.data.source.test: is missing; which values of 'speaker' are test?"),
        ({**BY_SPEAKER, "test": ("ann", "bo")}, "config.data.source.split_by: 'speaker' leaves no file"),
        ({**BY_SPEAKER, "validation": ("bo",)}, "config.data.source.test: bo is in validation, too"),
        ({**BY_SPEAKER, "fractions": (1.0, 0.0, 0.0)}, "config.data.source.fractions: does nothing unless"),
        ({**BY_SPEAKER, "labels": ("0", "2")}, "1_bo_0.wav: label '1' is not in the training split"),
    ],
)
def test_mistakes_are_named(folder, fields, message):
    with pytest.raises(UserError) as error:
        source(**{"path": folder, **fields}).split("test")
    assert str(error.value).startswith(message)


def test_a_folder_without_recordings(tmp_path):
    with pytest.raises(UserError, match=r"source.path: .* holds no file that ends in .wav"):
        source(tmp_path).splits()


@pytest.mark.parametrize("view, shape", [("audio", (4, 20)), ("pixels", (4, 20, 1))])
def test_a_process_gets_its_rows_of_the_shifted_batch(folder, view, shape):
    data = Data(
        source(folder, **BY_SPEAKER),
        batch_size=4,
        augmentation=FrozenDict(random_time_shift=random_time_shift.Augmentation(3)),
    )
    whole = TrainingBatches(data, view, seed=1, steps=5, rows=slice(0, 4))[3]
    halves = [TrainingBatches(data, view, 1, 5, slice(start, start + 2))[3] for start in (0, 2)]
    for key, value in whole.items():
        np.testing.assert_array_equal(np.concatenate([half[key] for half in halves]), value)
    assert whole["audio" if view == "audio" else "sequence"].shape == shape
    assert data.spec(view)["label"].shape == (4,)


def spoken_digits() -> Path:
    """The archive of the Free Spoken Digit Dataset."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    found = sorted((Path(os.environ.get("DATA_DIR", str(beside))) / "spoken_digit").glob("*.tar.gz"))
    if not found:
        pytest.skip("the Free Spoken Digit Dataset is not in DATA_DIR/spoken_digit")
    return found[0]


def test_the_free_spoken_digit_dataset():
    fields = {**BY_SPEAKER, "test": ("theo",), "validation": ("george",), "num_samples": 6000, "truncate": True}
    digits = source(spoken_digits(), **fields)
    assert digits.classes == tuple("0123456789")
    assert [len(digits.labelled(name)[0]) for name in digits.splits()] == [1500, 500, 500]
    batch = digits.split("test")[np.arange(0, 500, 50)]
    np.testing.assert_array_equal(batch["label"], np.arange(10))
    assert batch["audio"].shape == (10, 6000) and 0.01 < np.abs(batch["audio"]).max() < 1
    assert {origin.rpartition("/")[2][:7] for origin in batch["origin"]} == {f"{digit}_theo_" for digit in range(10)}
