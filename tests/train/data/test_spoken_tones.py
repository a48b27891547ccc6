"""Tones tell their digit, as long as they last."""

import dataclasses

import numpy as np
import pytest

from train.data import Data
from train.data.sources import spoken_tones
from train.errors import UserError

SMALL = {"train_size": 100, "eval_size": 30}


def test_each_digit_is_the_two_loudest_frequencies():
    examples = spoken_tones.Source(num_samples=4_000, **SMALL).split("train")[np.arange(100)]
    frequencies = np.fft.rfftfreq(4_000, 1 / 8_000)
    for audio, label in zip(examples["audio"], examples["label"], strict=True):
        spectrum = np.abs(np.fft.rfft(audio))
        loudest = [frequencies[band][np.argmax(spectrum[band])] for band in (frequencies < 1_100, frequencies > 1_100)]
        np.testing.assert_allclose(loudest, spoken_tones.FREQUENCIES[label], atol=4)


def test_digits_have_their_own_frequencies():
    assert len(set(map(tuple, spoken_tones.FREQUENCIES))) == 10


def test_sounds_end_where_the_mask_says():
    examples = spoken_tones.Source(**SMALL).split("train")[np.arange(100)]
    audio, mask = examples["audio"], examples["audio_mask"]
    assert audio.shape == mask.shape == (100, 2_000) and audio.dtype == np.float32
    lengths = mask.sum(axis=1)
    assert lengths.min() >= 1_000 and len(set(lengths)) > 50
    np.testing.assert_array_equal(mask, np.arange(2_000) < lengths[:, None])
    assert not audio[~mask].any() and np.abs(audio).max() <= 1


@pytest.mark.parametrize("view, shape", [("waveform", (2_000, 1)), ("log_mel", (23, 40))])
def test_all_views_of_sound_are_there(view, shape):
    data = Data(source=spoken_tones.Source(**SMALL), batch_size=4, view=view)
    assert data.spec(view)["sequence"].shape == (4, *shape)


def test_examples_depend_on_seed_and_split_alone():
    source = spoken_tones.Source(**SMALL)
    first, again = (source.split("test")[np.arange(30)] for _ in range(2))
    other = dataclasses.replace(source, seed=1).split("test")[np.arange(30)]
    validation = source.split("validation")[np.arange(30)]
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
        assert np.any(value != other[key]) and np.any(value != validation[key])


@pytest.mark.parametrize("fields", [{"num_samples": 1}, {"noise": -0.1}, {"train_size": 0}, {"seed": -1}])
def test_fields_out_of_range_are_refused(fields):
    with pytest.raises(UserError, match=f"config.data.source.{next(iter(fields))}: .* is less than"):
        spoken_tones.Source(**fields)
