"""The English text of Python's own documentation of its language, which the standard library holds for `help()`.

Real text that needs no file: half a million characters. It changes a little with every version of Python, so numbers
measured on it are to be compared within one.
"""

import dataclasses
from typing import Literal

import numpy as np

from train.data.arrays import InMemory

TRAIN, VALIDATION = 0.8, 0.1  # The rest is test.


@dataclasses.dataclass(frozen=True)
class Source:
    """Gives `text`.

    The topics are in alphabetical order; the first 80 % of them are the split `train`, the next 10 % `validation`, the
    last `test`.

    Attributes:
        unit: what one text is: a whole "topic", or each "paragraph" of one, what stands between empty lines.
    """

    unit: Literal["topic", "paragraph"] = "topic"

    num_classes = None

    def splits(self) -> tuple[str, ...]:
        return ("train", "validation", "test")

    def split(self, name: str) -> InMemory:
        from pydoc_data.topics import topics

        names = sorted(topics)
        first, second = round(TRAIN * len(names)), round((TRAIN + VALIDATION) * len(names))
        chosen = {"train": names[:first], "validation": names[first:second], "test": names[second:]}[name]
        texts = [
            (text, f"topic {topic!r} of pydoc_data")
            for topic in chosen
            for text in (topics[topic].split("\n\n") if self.unit == "paragraph" else [topics[topic]])
            if text.strip()
        ]
        text, origin = zip(*texts, strict=True)
        return InMemory({"text": np.asarray(text, object), "origin": np.asarray(origin, object)})
