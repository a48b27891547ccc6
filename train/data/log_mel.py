"""Log-mel spectrograms of a batch of recordings: how loud each recording is over time in bands that ears tell apart.

Frames of 25 ms begin every 10 ms, from the first sample on, and end within the recording's array. Of each, under a Hann
window, the Fourier transform over the next power of two of points gives powers, which are summed in 40 triangles of
height 1. Each triangle reaches from the middle of the one before to the middle of the next; their middles are equally
far apart, from 0 to half the sample rate, on the mel scale of HTK (Young et al., The HTK Book, filterbank analysis):
2595 log10(1 + f / 700 Hz). Then the natural logarithm, of no less than FLOOR; and last, each recording is shifted and
scaled to mean 0 and variance 1 over all its real frames and bands, so that its loudness drops out.
"""

import functools

import numpy as np

from train.errors import UserError

WINDOW, HOP = 0.025, 0.010  # Seconds.
BANDS = 40
FLOOR = 1e-6  # Of the power in a band; samples are from -1 to 1.


def log_mel(audio: np.ndarray, mask: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The spectrogram [B, frames, BANDS] of audio [B, T], and which frames are real; the others are 0.

    A frame is real if its first sample is, by `mask` [B, T].

    Raises:
        UserError: T is less than one frame.
    """
    window, hop = round(WINDOW * sample_rate), round(HOP * sample_rate)
    if audio.shape[1] < window:
        raise UserError(
            f"config.data.view: log_mel needs {window} samples ({1000 * WINDOW:.0f} ms), and recordings have "
            f"{audio.shape[1]}; make them longer (config.data.source.num_samples), or choose another view."
        )
    logarithms = np.log(np.maximum(mel_powers(audio, sample_rate, window, hop), FLOOR))
    real = mask[:, : audio.shape[1] - window + 1 : hop]
    return _standardised(logarithms, real), real


def mel_powers(audio: np.ndarray, sample_rate: int, window: int, hop: int) -> np.ndarray:
    """The power [B, frames, BANDS] in each band."""
    points = 1 << (window - 1).bit_length()
    frames = np.lib.stride_tricks.sliding_window_view(audio, window, axis=1)[:, ::hop]
    hann = np.hanning(window + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames * hann, points)
    # Einsum, not a matrix product: the threads of numpy's BLAS would fight with those that XLA computes on.
    return np.einsum("bfk,km->bfm", spectrum.real**2 + spectrum.imag**2, filters(sample_rate, points))


@functools.lru_cache(maxsize=4)
def filters(sample_rate: int, points: int) -> np.ndarray:
    """The weight [points // 2 + 1, BANDS] of each frequency in each band."""
    highest = 2595 * np.log10(1 + sample_rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    frequencies = np.arange(points // 2 + 1)[:, None] * sample_rate / points
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _standardised(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    places = real[:, :, None]
    count = np.maximum(real.sum(axis=1) * values.shape[2], 1).astype(np.float32)[:, None, None]
    centred = np.where(places, values - np.sum(values, (1, 2), where=places, keepdims=True) / count, 0)
    deviation = np.sqrt(np.sum(centred**2, (1, 2), keepdims=True) / count)
    return centred / np.maximum(deviation, 1e-3)
