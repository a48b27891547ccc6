"""How one data set becomes what each architecture reads.

Images are float [B, X, Y, C], from 0 to 1. Sound is `audio`, float [B, T] from -1 to 1, with `audio_mask` [B, T], where
it is real. A view that a model declares is one of images; OF_SOUND says which sound it gets. Of data with both, images
get the view, and sound stays as it is.
"""

from collections.abc import Callable, Collection

import numpy as np

from train.data.log_mel import log_mel

Arrays = dict[str, np.ndarray]


def scale(image: np.ndarray) -> np.ndarray:
    """Bytes 0..255 as float32 from 0 to 1; floats stay as they are."""
    return image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32, copy=False)


def permute_pixels(image: np.ndarray, seed: int) -> np.ndarray:
    """Moves pixels by a permutation that depends on `seed` alone (as in permuted sequential MNIST, Le et al., 2015)."""
    batch, rows, columns, channels = image.shape
    order = np.random.default_rng(seed).permutation(rows * columns)
    return image.reshape(batch, rows * columns, channels)[:, order].reshape(image.shape)


def as_image(image: np.ndarray) -> Arrays:
    """[B, X, Y, C]."""
    return {"image": image}


def as_rows(image: np.ndarray) -> Arrays:
    """Rows from the top as steps in time: [B, X, Y * C]."""
    return {"sequence": image.reshape(*image.shape[:2], -1)}


def as_pixels(image: np.ndarray) -> Arrays:
    """Pixels in reading order as steps in time: [B, X * Y, C]."""
    return {"sequence": image.reshape(len(image), -1, image.shape[-1])}


def as_flat(image: np.ndarray) -> Arrays:
    """All values as one vector: [B, X * Y * C]."""
    return {"features": image.reshape(len(image), -1)}


def as_tokens(image: np.ndarray) -> Arrays:
    """Pixels in reading order as tokens, their grey levels from 0 to 255: [B, X * Y]; colours are averaged."""
    grey = np.rint(255 * image.mean(axis=-1)).astype(np.int32)
    return {"tokens": grey.reshape(len(image), -1)}


def as_audio(audio: np.ndarray, mask: np.ndarray, sample_rate: int) -> Arrays:
    """As it is: `audio` and `audio_mask` [B, T]."""
    return {"audio": audio, "audio_mask": mask}


def as_waveform(audio: np.ndarray, mask: np.ndarray, sample_rate: int) -> Arrays:
    """Samples as steps in time: `sequence` [B, T, 1] and `mask` [B, T]."""
    return {"sequence": audio[:, :, None], "mask": mask}


def as_log_mel(audio: np.ndarray, mask: np.ndarray, sample_rate: int) -> Arrays:
    """Rows of a spectrogram as steps in time: `sequence` [B, frames, bands] and `mask` [B, frames]; see `log_mel`."""
    sequence, real = log_mel(audio, mask, sample_rate)
    return {"sequence": sequence, "mask": real}


VIEWS: dict[str, Callable[[np.ndarray], Arrays]] = {
    "image": as_image,
    "rows": as_rows,
    "pixels": as_pixels,
    "flat": as_flat,
    "tokens": as_tokens,
}
SOUND_VIEWS: dict[str, Callable[[np.ndarray, np.ndarray, int], Arrays]] = {
    "audio": as_audio,
    "waveform": as_waveform,
    "log_mel": as_log_mel,
}
OF_SOUND = {"pixels": "waveform", "rows": "log_mel"}  # The smallest steps in time, and coarse ones; else `audio`.


def allowed(entries: Collection[str]) -> tuple[str, ...]:
    """The views of data with these entries."""
    return tuple(VIEWS if "image" in entries else SOUND_VIEWS if "audio" in entries else ())


def of_image(image: np.ndarray, view: str | None) -> Arrays:
    """Images as a model of this view reads them; one that declares none of images gets them as they are."""
    return VIEWS.get(view or "image", as_image)(image)


def of_sound(audio: np.ndarray, mask: np.ndarray, sample_rate: int, view: str | None) -> Arrays:
    """Sound as a model of this view reads it."""
    name = OF_SOUND.get(view or "audio", view or "audio")
    return SOUND_VIEWS.get(name, as_audio)(audio, mask, sample_rate)
