"""Scikit-learn's handwritten digits with a caption each: images and texts that belong together, without a download.

A caption is a template with the digit's name in it, word by word; the template is drawn once for each image.
"""

import dataclasses

import numpy as np

from train.data.arrays import InMemory
from train.data.sources import digits
from train.errors import UserError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("a {}", "the digit {}", "a drawing of the digit {}", "somebody wrote a {} by hand")
WORDS = sorted({word for template in TEMPLATES for word in template.split()} - {"{}"} | set(NAMES))
START, FIRST = 1, 2  # Token 0 is padding; words follow, and the end is the highest, as CLIP has it.
END = FIRST + len(WORDS)


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `image` [8, 8, 1], `label`, and the caption: `tokens` and `mask` [8].

    Attributes:
        seed: of the templates; another seed is another data set.
    """

    seed: int = 0

    num_classes = 10
    vocab_sizes = {"vocab_size": END + 1}

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"config.data.source.seed: {self.seed} is less than 0.")

    def splits(self) -> tuple[str, ...]:
        return digits.Source().splits()

    def split(self, name: str) -> InMemory:
        images = digits.Source().split(name).arrays
        captions = caption_tokens()
        templates = np.random.default_rng((self.seed, self.splits().index(name))).integers(
            len(TEMPLATES), size=len(images["label"])
        )
        tokens = captions[templates, images["label"]]
        return InMemory({**images, "tokens": tokens, "mask": tokens > 0})


def caption_tokens() -> np.ndarray:
    """Tokens of all captions, [template, digit, place]."""
    longest = max(len(template.split()) for template in TEMPLATES) + 2
    captions = np.zeros((len(TEMPLATES), len(NAMES), longest), np.int32)
    for row, template in enumerate(TEMPLATES):
        for digit, name in enumerate(NAMES):
            words = [FIRST + WORDS.index(word) for word in template.format(name).split()]
            captions[row, digit, : len(words) + 2] = [START, *words, END]
    return captions
