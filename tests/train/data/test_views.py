"""Sound becomes what each architecture reads; log-mel spectrograms agree with an independent implementation."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from train import config as configs
from train.data import views
from train.data.log_mel import BANDS, log_mel, mel_powers
from train.errors import UserError
from train.experiment import build

RATE = 8000


def noise(rows: int, length: int, scale: float = 0.1) -> np.ndarray:
    return (scale * np.random.default_rng(0).standard_normal((rows, length))).astype(np.float32)


def everywhere(audio: np.ndarray) -> np.ndarray:
    return np.ones(audio.shape, bool)


@pytest.mark.parametrize("rate, window, hop", [(8000, 200, 80), (16000, 400, 160)])
def test_mel_powers_agree_with_transformers(rate, window, hop):
    audio_utils = pytest.importorskip("transformers.audio_utils")
    points = {200: 256, 400: 512}[window]
    audio = noise(2, rate // 4)
    filters = audio_utils.mel_filter_bank(
        points // 2 + 1, BANDS, 0, rate / 2, rate, norm=None, mel_scale="htk", triangularize_in_mel_space=False
    )
    hann = audio_utils.window_function(window, "hann")
    for ours, waveform in zip(mel_powers(audio, rate, window, hop), audio, strict=True):
        theirs = audio_utils.spectrogram(
            waveform, hann, window, hop, points, power=2.0, center=False, mel_filters=filters, mel_floor=0.0
        )
        np.testing.assert_allclose(ours, theirs.T, rtol=1e-3, atol=1e-5)


def test_a_tone_is_in_its_band():
    audio = np.sin(2 * np.pi * 1000 / RATE * np.arange(2000, dtype=np.float32))[None]
    spectrogram, _ = log_mel(audio, everywhere(audio), RATE)
    middles = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), BANDS + 2)[1:-1] / 2595) - 1)
    assert set(spectrogram[0].argmax(axis=1)) == {np.abs(middles - 1000).argmin()}


def test_spectrograms_have_mean_0_and_variance_1_whatever_the_loudness():
    audio = noise(3, 1600)
    loud, quiet = (log_mel(scale * audio, everywhere(audio), RATE)[0] for scale in (1, 0.1))
    assert loud.shape == (3, 18, BANDS) and loud.dtype == np.float32
    np.testing.assert_allclose(loud.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(loud.std(axis=(1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(quiet, loud, atol=1e-3)


@pytest.mark.parametrize("length, frames", [(1, 1), (80, 1), (81, 2), (1000, 13), (1200, 13)])
def test_frames_are_real_that_begin_in_the_recording(length, frames):
    audio = noise(1, 1200)
    mask = np.arange(1200)[None] < length
    spectrogram, real = log_mel(audio * mask, mask, RATE)
    assert real.shape == (1, 13) and real.sum() == frames and real[0, :frames].all()
    assert not spectrogram[~real].any()
    longer = np.pad(mask, ((0, 0), (0, 400)))
    padded, still_real = log_mel(np.pad(audio * mask, ((0, 0), (0, 400))), longer, RATE)
    if length <= 1000:  # frames that the array is too short for are cut off its end
        np.testing.assert_allclose(padded[still_real], spectrogram[real], atol=1e-5)


def test_silence_is_no_division_by_zero():
    silence = np.zeros((1, 400), np.float32)
    spectrogram, _ = log_mel(silence, everywhere(silence), RATE)
    np.testing.assert_allclose(spectrogram, 0, atol=2e-3)  # the rounding of float32


def test_less_than_a_frame_is_refused():
    with pytest.raises(UserError, match=r"config.data.view: log_mel needs 200 samples \(25 ms\).* have 199"):
        log_mel(noise(1, 199), np.ones((1, 199), bool), RATE)


@pytest.mark.parametrize(
    "view, shapes",
    [
        ("audio", {"audio": (2, 400), "audio_mask": (2, 400)}),
        ("waveform", {"sequence": (2, 400, 1), "mask": (2, 400)}),
        ("pixels", {"sequence": (2, 400, 1), "mask": (2, 400)}),
        ("log_mel", {"sequence": (2, 3, BANDS), "mask": (2, 3)}),
        ("rows", {"sequence": (2, 3, BANDS), "mask": (2, 3)}),
        ("image", {"audio": (2, 400), "audio_mask": (2, 400)}),
        ("tokens", {"audio": (2, 400), "audio_mask": (2, 400)}),
        (None, {"audio": (2, 400), "audio_mask": (2, 400)}),
    ],
)
def test_sound_for_models_of_every_view(view, shapes):
    audio = noise(2, 400)
    viewed = views.of_sound(audio, everywhere(audio), RATE, view)
    assert {name: value.shape for name, value in viewed.items()} == shapes


@pytest.fixture
def recordings(tmp_path) -> Path:
    for name in ("yes", "no"):
        (tmp_path / name).mkdir()
        for number in range(10):
            wavfile.write(tmp_path / name / f"{number}.wav", RATE, noise(1, 500 + number)[0])
    return tmp_path


def experiment(recordings: Path, *overrides: str):
    source = ["name=audio_folder", f"path={recordings}", "num_samples=600", f"sample_rate={RATE}"]
    overrides = (*(f"data.source.{field}" for field in source), "data.batch_size=4", *overrides)
    return build(configs.load("configs/quickstart.py:rnn", ["model.num_classes=None", "steps=60", *overrides]))


@pytest.mark.parametrize(
    "overrides, inputs",
    [
        (["model.name=rnn"], {"sequence": (4, 6, BANDS), "mask": (4, 6)}),
        (["model.name=rnn", "data.view=waveform"], {"sequence": (4, 600, 1), "mask": (4, 600)}),
        (["model.name=convnet1d", "model.variant=plain"], {"sequence": (4, 600, 1), "mask": (4, 600)}),
        (
            ["model.name=fusion", "model.variant=late", "model.modalities=('audio',)", "model.num_layers=1"]
            + ["model.patch_size=None"],
            {"audio": (4, 600), "audio_mask": (4, 600)},
        ),
    ],
)
def test_models_of_sequences_read_sound(recordings, overrides, inputs):
    built = experiment(recordings, *overrides)
    assert {name: value.shape for name, value in built.model_inputs(built.spec).items()} == inputs
    assert built.model.num_classes == 2


@pytest.mark.parametrize(
    "override, message",
    [
        ("data.view=rows", "config.data.view: 'rows' does not fit data of audio, audio_mask, label, origin. Allowed: "),
        ("data.image_size=8", "config.data.image_size: the data have no images"),
        ("data.augmentation.random_shift.pixels=1", "config.data.augmentation.random_shift: the data have no 'image'"),
        ("model.name=mlp", "config.model: mlp reads 'features', but the data (audio_folder) give "),
    ],
)
def test_what_does_not_fit_sound_is_refused(recordings, override, message):
    with pytest.raises(UserError, match=re.escape(message)):
        experiment(recordings, override)


def test_what_does_not_fit_images_is_refused():
    with pytest.raises(
        UserError, match="config.data.view: 'log_mel' does not fit data of image, label. Allowed: image"
    ):
        build(configs.load("configs/quickstart.py:rnn", ["data.view=log_mel"]))
    with pytest.raises(UserError, match="random_time_shift: the data have no 'audio', but image, label"):
        build(configs.load("configs/quickstart.py:rnn", ["data.augmentation.random_time_shift.samples=5"]))
