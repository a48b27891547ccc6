r"""Recordings: the wav files of a folder or an archive. Their paths tell labels and splits.

Of the Free Spoken Digit Dataset, for example, whose files are named `recordings/{digit}_{speaker}_{index}.wav`:

    pattern = r"(?P<label>\d)_(?P<speaker>[^_/]+)_\d+\.wav$", split_by = "speaker", test = ("theo",)
"""

import dataclasses
import io
import logging
import warnings

import numpy as np

from train.data import files
from train.data.decoded import Content, Decoded, content_of
from train.data.labelled_files import FIELD, LabelledFiles
from train.errors import UserError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source(LabelledFiles):
    """Gives `audio` [num_samples] from -1 to 1, silent after the recording's end; `audio_mask` [num_samples], where the
    recording is; `label`, and `origin`, the file.

    Reads PCM of 8 to 64 bits and floats; channels are averaged. Each file is read once when its split is first asked
    for, so that one that does not fit is refused before training, and decoded when its example is.

    Attributes:
        num_samples: what recordings are padded to.
        sample_rate: samples a second, which all recordings must have.
        truncate: whether longer recordings are cut, and their number logged, instead of refused.
    """

    num_samples: int
    sample_rate: int
    truncate: bool = False

    endings = (".wav",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("num_samples", "sample_rate"):
            if getattr(self, field) < 1:
                raise UserError(f"{FIELD}.{field}: {getattr(self, field)} is less than 1.")

    def split(self, name: str) -> Decoded:
        names, label = self.labelled(name)
        content = content_of(files.opened(self.path, f"{FIELD}.path"), names)
        self._check(names, content, name)
        return Decoded(names, {"label": label, "origin": names}, content, self._decode)

    def _decode(self, content: bytes, name: str) -> dict[str, np.ndarray]:
        waveform = self._waveform(content, name)[: self.num_samples]
        audio = np.pad(waveform, (0, self.num_samples - len(waveform)))
        return {"audio": audio, "audio_mask": np.arange(self.num_samples) < len(waveform)}

    def _check(self, names: np.ndarray, content: Content, split: str) -> None:
        """Reads every recording of a split; refuses or counts those that are too long."""
        too_long = 0
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Reached EOF")  # The file was cut off.
            for name in names:
                length = len(self._waveform(content(name), name))
                too_long += length > self.num_samples
                if too_long and not self.truncate:
                    raise UserError(
                        f"{name}: has {length} samples, and there is room for {self.num_samples}; raise "
                        f"{FIELD}.num_samples, or set {FIELD}.truncate=True to cut long recordings."
                    )
        if too_long:
            log.warning(
                "split %s: %d of %d recordings are cut to %d samples", split, too_long, len(names), self.num_samples
            )

    def _waveform(self, content: bytes, name: str) -> np.ndarray:
        """The samples [T] of a wav file, channels averaged."""
        from scipy.io import wavfile

        try:
            sample_rate, samples = wavfile.read(io.BytesIO(content))
        except Exception as error:  # Anything may come of parsing a damaged file.
            raise UserError(f"{name}: is no wav file that can be read: {error}") from error
        if sample_rate != self.sample_rate:
            raise UserError(
                f"{name}: has {sample_rate} samples a second, and {FIELD}.sample_rate is {self.sample_rate}; "
                "convert the file, or set the field."
            )
        waveform = _from_minus_one_to_one(samples)
        if waveform.size == 0 or not np.isfinite(waveform).all():
            raise UserError(f"{name}: has {'no samples' if waveform.size == 0 else 'samples that are not finite'}.")
        return waveform.mean(axis=1, dtype=np.float32) if waveform.ndim == 2 else waveform


def _from_minus_one_to_one(samples: np.ndarray) -> np.ndarray:
    """Samples as float32; whole numbers are divided by the largest that their type, or 24 bits at its top, can hold."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    middle = 128 if samples.dtype == np.uint8 else 0
    return ((samples.astype(np.float64) - middle) / 2.0 ** (8 * samples.dtype.itemsize - 1)).astype(np.float32)
