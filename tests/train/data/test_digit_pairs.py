"""Image and sound are of one digit, unless noise takes their place, which tells nothing."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.io import wavfile

from archs import build
from train.data import generated
from train.data.log_mel import log_mel
from train.data.sources import digit_pairs, spoken_tones
from train.errors import UserError

CLEAN = digit_pairs.Source(corrupt_image_rate=0, corrupt_audio_rate=0, train_size=200, eval_size=100)
NOISY = dataclasses.replace(CLEAN, corrupt_image_rate=0.3, corrupt_audio_rate=0.5, train_size=2_000)


def read(source: digit_pairs.Source, split: str = "train") -> dict[str, np.ndarray]:
    examples = source.split(split)
    return examples[np.arange(len(examples))]


@pytest.fixture
def recordings(tmp_path) -> Path:
    """Ten recordings of each digit, 100 samples long and 10 more for each of its ones; their value is the digit's."""
    for digit in range(10):
        for index in range(10):
            samples = np.full(100 + 10 * digit, 1_000 * (digit + 1), np.int16)
            wavfile.write(tmp_path / f"{digit}_{'ann' if index % 2 else 'bo'}_{index}.wav", 8_000, samples)
    return tmp_path


@pytest.mark.parametrize("split", generated.SPLITS)
def test_clean_pairs_are_of_one_digit_and_split(split):
    examples = read(CLEAN, split)
    digits = generated.digits_of(split)
    known = {image.tobytes(): label for image, label in zip(digits["image"], digits["label"], strict=True)}
    frequencies = np.fft.rfftfreq(2_000, 1 / 8_000)
    for image, audio, label in zip(*(examples[key] for key in ("image", "audio", "label")), strict=True):
        assert known[image.tobytes()] == label
        powers = np.abs(np.fft.rfft(audio))
        loudness = [powers[np.abs(frequencies - tone) < 8].max() for tone in spoken_tones.FREQUENCIES.ravel()]
        of_digits = np.reshape(loudness, (10, 2)).sum(axis=1)
        assert np.argmax(of_digits) == label


def test_whether_both_are_the_same_is_told_by_neither_alone(recordings):
    """Digits are known by the length of their recordings, and by their images."""
    source = dataclasses.replace(CLEAN, question="same", audio_path=str(recordings), num_samples=200, train_size=2_000)
    examples = read(source)
    assert source.num_classes == 2
    digits = generated.digits_of("train")
    known = {image.tobytes(): label for image, label in zip(digits["image"], digits["label"], strict=True)}
    seen = np.array([known[image.tobytes()] for image in examples["image"]])
    heard = (examples["audio_mask"].sum(axis=1) - 100) // 10
    np.testing.assert_array_equal(examples["label"], seen == heard)
    assert examples["label"].mean() == pytest.approx(0.5, abs=0.04)
    for digit in (seen, heard):
        counts = stats.contingency.crosstab(digit, examples["label"]).count
        assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_sounds_as_spectrograms():
    waveform, spectrogram = read(CLEAN), read(dataclasses.replace(CLEAN, sound="log_mel"))
    sequence, mask = log_mel(waveform["audio"], waveform["audio_mask"], 8_000)
    assert spectrogram.keys() == {"image", "sequence", "sequence_mask", "label"}
    np.testing.assert_array_equal(spectrogram["sequence"], sequence)
    np.testing.assert_array_equal(spectrogram["sequence_mask"], mask)
    assert read(dataclasses.replace(CLEAN, sound="log_mel", modalities=("image",))).keys() == {"image", "label"}


def test_noise_takes_the_place_of_either_independently():
    clean, noisy = (read(dataclasses.replace(source, train_size=2_000, num_samples=300)) for source in (CLEAN, NOISY))
    np.testing.assert_array_equal(clean["label"], noisy["label"])
    image, audio = (np.any(clean[key] != noisy[key], axis=axes) for key, axes in (("image", (1, 2, 3)), ("audio", 1)))
    assert image.mean() == pytest.approx(0.3, abs=0.05) and audio.mean() == pytest.approx(0.5, abs=0.05)
    assert np.mean(image & audio) == pytest.approx(0.15, abs=0.04)
    for lost in (image, audio):  # of all digits alike
        counts = stats.contingency.crosstab(lost, clean["label"]).count
        assert stats.chi2_contingency(counts).pvalue > 1e-3
    assert not noisy["audio"][~noisy["audio_mask"]].any()


def test_noise_tells_nothing_of_the_digit(recordings):
    """Of recordings, whose length and loudness tell the digit, neither length nor loudness of the noise does."""
    source = dataclasses.replace(NOISY, audio_path=str(recordings), num_samples=200, corrupt_audio_rate=1.0)
    examples = read(source)
    assert examples["image"][..., 0].std() > 0.2
    lengths = examples["audio_mask"].sum(axis=1)
    assert set(lengths) == set(range(100, 200, 10))
    for told in (lengths, np.sqrt((examples["audio"] ** 2).sum(axis=1) / lengths)):
        assert abs(stats.pearsonr(told, examples["label"]).statistic) < 0.08
    loudness = np.sqrt(np.mean(examples["audio"][examples["audio_mask"]] ** 2))
    clean = read(dataclasses.replace(source, corrupt_audio_rate=0.0))
    assert loudness == pytest.approx(np.sqrt(np.mean(clean["audio"][clean["audio_mask"]] ** 2)), rel=0.05)


def test_recordings_are_of_the_digit(recordings):
    examples = read(dataclasses.replace(CLEAN, audio_path=str(recordings), num_samples=200))
    for audio, mask, label in zip(*(examples[key] for key in ("audio", "audio_mask", "label")), strict=True):
        assert mask.sum() == 100 + 10 * label
        np.testing.assert_allclose(audio[mask], 1_000 * (label + 1) / 32_768, rtol=1e-6)


def test_says_which_digit_has_no_recording(recordings):
    for file in recordings.glob("7_*"):
        file.unlink()
    with pytest.raises(UserError, match="split 'train' has no recording of digit 7"):
        dataclasses.replace(CLEAN, audio_path=str(recordings), num_samples=200).split("train")


def test_the_free_spoken_digit_dataset():
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    archive = Path(os.environ.get("DATA_DIR", beside)) / "spoken_digit" / "free-spoken-digit-dataset-1.0.9.tar.gz"
    if not archive.exists():
        pytest.skip("the recordings are not there; set DATA_DIR")
    examples = read(dataclasses.replace(CLEAN, audio_path=str(archive), num_samples=4_000), "validation")
    assert examples["audio"].shape == (100, 4_000) and examples["audio_mask"].sum(axis=1).min() > 500


@pytest.mark.parametrize("modality, entries", [("image", {"image"}), ("audio", {"audio", "audio_mask"})])
def test_one_modality_alone_is_that_of_the_pair(modality, entries):
    source = dataclasses.replace(NOISY, train_size=100)
    both, alone = read(source), read(dataclasses.replace(source, modalities=(modality,)))
    assert set(alone) == entries | {"label"}
    for key, value in alone.items():
        np.testing.assert_array_equal(value, both[key])


def test_fusion_reads_pairs():
    import jax

    examples = read(dataclasses.replace(CLEAN, train_size=2))
    del examples["label"]
    model = build("fusion", variant="cross_attention", num_classes=10, patch_size=4)
    variables = jax.eval_shape(lambda batch: model.init(jax.random.key(0), **batch), examples)
    assert jax.eval_shape(lambda known, batch: model.apply(known, **batch), variables, examples).shape == (2, 10)


def test_examples_depend_on_seed_and_split_alone():
    first, again = (read(CLEAN) for _ in range(2))
    other = read(dataclasses.replace(CLEAN, seed=1))
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
        assert np.any(value != other[key])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"corrupt_image_rate": 1.5}, "is not from 0 to 1"),
        ({"corrupt_audio_rate": -0.5}, "is not from 0 to 1"),
        ({"modalities": ()}, "must be image, audio"),
        ({"modalities": ("image", "image")}, "must be image, audio"),
        ({"num_samples": 1}, "is less than 2"),
        ({"train_size": 0}, "is less than 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .*{message}"):
        digit_pairs.Source(**fields)
