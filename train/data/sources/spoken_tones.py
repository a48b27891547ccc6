"""Digits as a telephone dials them, each by two tones at once (DTMF): stands in for recordings of spoken digits."""

import dataclasses

import numpy as np

from train.data import generated
from train.data.arrays import InMemory

SAMPLE_RATE = 8_000
# Hertz, of the keys 0 to 9: a row of the keypad and a column.
FREQUENCIES = np.asarray(
    [(941, 1336), *((row, column) for row in (697, 770, 852) for column in (1209, 1336, 1477))], np.float64
)


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives what `audio_folder` gives of recordings at 8 kHz: `audio` and `audio_mask` [num_samples], and `label`.

    Attributes:
        num_samples: what sounds are padded to; they are between half as long and as long.
        noise: standard deviation of what is added to the tones, which each reach 1/8 to 1/4.
        train_size: training examples.
        eval_size: examples in each of the other splits.
        seed: of the generator; another seed is another data set.
    """

    num_samples: int = 2_000
    noise: float = 0.1
    train_size: int = 2_000
    eval_size: int = 500
    seed: int = 0

    num_classes = 10
    sample_rate = SAMPLE_RATE

    def __post_init__(self) -> None:
        generated.check(self, num_samples=2, noise=0, train_size=1, eval_size=1, seed=0)

    def splits(self) -> tuple[str, ...]:
        return generated.SPLITS

    def split(self, name: str) -> InMemory:
        size = self.train_size if name == "train" else self.eval_size
        rng = generated.generator(self.seed, name)
        label = rng.integers(10, size=size).astype(np.int32)
        audio, mask = dialled(rng, label, self.num_samples, self.noise)
        return InMemory({"audio": audio, "audio_mask": mask, "label": label})


def dialled(
    rng: np.random.Generator, label: np.ndarray, num_samples: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Tones [N, num_samples] of digits [N], of random phase, loudness and length, and where they are."""
    size = len(label)
    phase = rng.random((size, 2))
    amplitude = rng.uniform(1 / 8, 1 / 4, (size, 2))
    lengths = rng.integers(num_samples // 2, num_samples + 1, size=(size, 1))
    audio = noise * rng.standard_normal((size, num_samples), np.float32)
    for tone in range(2):
        turns = FREQUENCIES[label, tone, None] * np.arange(num_samples) / SAMPLE_RATE + phase[:, tone, None]
        audio += amplitude[:, tone, None] * np.sin(2 * np.pi * turns)
    mask = np.arange(num_samples) < lengths
    return np.clip(audio * mask, -1, 1).astype(np.float32), mask
