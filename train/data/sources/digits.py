"""Scikit-learn's handwritten digits: 1,797 real images of 8x8 pixels, part of the library, so nothing is downloaded.

From the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak, 1998). Every image whose index is
divisible by 5 is test, so that nobody can pick a lucky split.
"""

import dataclasses

import numpy as np

from train.data.arrays import InMemory


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `image` [8, 8, 1], from 0 to 1, and `label` from 0 to 9."""

    num_classes = 10

    def splits(self) -> tuple[str, ...]:
        return ("train", "test")

    def split(self, name: str) -> InMemory:
        from sklearn.datasets import load_digits  # Takes two seconds to import.

        digits = load_digits()
        chosen = (np.arange(len(digits.target)) % 5 == 0) == (name == "test")
        image = (digits.images[chosen, :, :, None] / 16).astype(np.float32)
        return InMemory({"image": image, "label": digits.target[chosen].astype(np.int32)})
