"""A digit written and a digit spoken, and either may be lost in noise: a job for more senses than one.

Asked is which digit it is, which either tells by itself; or whether the two are the same, which neither does.

Images are scikit-learn's; sounds are the tones of `spoken_tones`, or recordings.
"""

import dataclasses
from typing import Literal

import numpy as np

from train.data import generated
from train.data.arrays import InMemory
from train.data.log_mel import log_mel
from train.data.sources import audio_folder, spoken_tones
from train.errors import UserError

# How the files of the Free Spoken Digit Dataset are named: {digit}_{speaker}_{index}.wav.
PATTERN = r"(?P<label>\d)_[^_/]+_\d+\.wav$"


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `image` [8, 8, 1], `audio` and `audio_mask` [num_samples], and `label`; as log-mel spectrograms, sounds are
    `sequence` [frames, bands] and `sequence_mask` [frames] instead.

    Image and sound are drawn at random among those of their digit, from the same split. Noise takes the place of either
    with a probability of its own: an image of uniformly random pixels; normal noise as loud as the sounds are on
    average, and as long as that of any digit. What `modalities` and the rates are leaves the other draws as they are.

    Attributes:
        question: "digit": both are of one digit, and `label` is that digit. "same": `label` is whether they are of one
            digit, which half of them are.
        modalities: which of the two are given.
        sound: what sounds are given as.
        corrupt_image_rate: probability that an image is noise.
        corrupt_audio_rate: probability that a sound is noise.
        audio_path: a folder or an archive of recordings at 8 kHz, whose files are named as those of the Free Spoken
            Digit Dataset; see `audio_folder`, which tells their splits at random, always the same. None takes tones.
        num_samples: what sounds are padded to; recordings that are longer are cut, and their number logged.
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the pairs; another seed is another data set.
    """

    question: Literal["digit", "same"] = "digit"
    modalities: tuple[Literal["image", "audio"], ...] = ("image", "audio")
    sound: Literal["waveform", "log_mel"] = "waveform"
    corrupt_image_rate: float = 0.3
    corrupt_audio_rate: float = 0.3
    audio_path: str | None = None
    num_samples: int = 2_000
    train_size: int = 4_000
    eval_size: int = 1_000
    seed: int = 0

    sample_rate = spoken_tones.SAMPLE_RATE

    def __post_init__(self) -> None:
        generated.check(self, num_samples=2, train_size=1, eval_size=1, seed=0)
        for field in ("corrupt_image_rate", "corrupt_audio_rate"):
            if not 0 <= getattr(self, field) <= 1:
                raise UserError(f"config.data.source.{field}: {getattr(self, field)} is not from 0 to 1.")
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise UserError(f"config.data.source.modalities: {self.modalities} must be image, audio, or each once.")

    @property
    def num_classes(self) -> int:
        return 10 if self.question == "digit" else 2

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        rng = generated.generator(self.seed, name)
        seen = heard = label = rng.integers(10, size=size).astype(np.int32)
        noisy_image, noisy_audio = rng.random((2, size)) < [[self.corrupt_image_rate], [self.corrupt_audio_rate]]
        if self.question == "same":
            label = rng.integers(2, size=size).astype(np.int32)
            heard = np.where(label, seen, (seen + rng.integers(1, 10, size=size)) % 10).astype(np.int32)
        entries = {"image": self._images(name, rng, seen, noisy_image)} | self._sounds(name, rng, heard, noisy_audio)
        given = {key: array for key, array in entries.items() if key.partition("_")[0] in self.modalities}
        if self.sound == "log_mel" and "audio" in given:
            sequence, mask = log_mel(given.pop("audio"), given.pop("audio_mask"), self.sample_rate)
            given |= {"sequence": sequence, "sequence_mask": mask}
        return InMemory({**given, "label": label})

    def _images(self, split: str, rng: np.random.Generator, digit: np.ndarray, noisy: np.ndarray) -> np.ndarray:
        """Images [N, 8, 8, 1] of digits [N], or noise."""
        digits = generated.digits_of(split)
        image = digits["image"][_of_class(rng, digit, digits["label"])]
        return np.where(noisy[:, None, None, None], rng.random(image.shape, np.float32), image)

    def _sounds(
        self, split: str, rng: np.random.Generator, digit: np.ndarray, noisy: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Sounds of digits [N], or noise: `audio` and `audio_mask` [N, num_samples]."""
        if self.audio_path is None:
            audio, mask = spoken_tones.dialled(rng, digit, self.num_samples, noise=0.1)
        else:
            recordings = self._recordings(split)
            chosen = _of_class(rng, digit, recordings["label"])
            audio, mask = recordings["audio"][chosen], recordings["audio_mask"][chosen]
        loudness = np.sqrt(np.mean(audio[mask] ** 2))
        noise = loudness * rng.standard_normal(audio.shape, np.float32)
        noise_mask = mask[rng.integers(len(mask), size=len(mask))]
        return {
            "audio": np.where(noisy[:, None], np.clip(noise, -1, 1) * noise_mask, audio),
            "audio_mask": np.where(noisy[:, None], noise_mask, mask),
        }

    def _recordings(self, split: str) -> dict[str, np.ndarray]:
        """All recordings of a split."""
        source = audio_folder.Source(
            path=self.audio_path or "",
            pattern=PATTERN,
            labels=tuple("0123456789"),
            num_samples=self.num_samples,
            sample_rate=self.sample_rate,
            truncate=True,
        )
        examples = source.split(split)
        recordings = examples[np.arange(len(examples))]
        missing = sorted(set(range(10)) - set(recordings["label"].tolist()))
        if missing:
            raise UserError(f"config.data.source.audio_path: split {split!r} has no recording of digit {missing[0]}.")
        return recordings


def _of_class(rng: np.random.Generator, label: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each label [N] the index of a random one of `labels` that is equal."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=10)
    rank = (rng.random(len(label)) * counts[label]).astype(int)
    return order[(np.cumsum(counts) - counts)[label] + rank]
