"""Pictures in folders that are named after their class, or that another pattern in their paths tells."""

import dataclasses

import numpy as np

from train.data import files, pictures
from train.data.decoded import Decoded, content_of
from train.data.labelled_files import FIELD, LabelledFiles


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source(LabelledFiles):
    """Gives `image`, bytes [X, Y, C]; `label`; and `origin`, the file. Pictures are decoded when a batch needs them.

    Attributes:
        image_size: what the shorter side of each picture is scaled to; of the longer, the middle is kept. None leaves
            pictures as they are, and they must all be of one size.
        mode: "RGB", or "L" for gray. Transparent pictures are laid on white.
    """

    image_size: int | None = None
    mode: pictures.Mode = "RGB"

    endings = pictures.ENDINGS

    def __post_init__(self) -> None:
        super().__post_init__()
        pictures.check_image_size(self.image_size)

    def split(self, name: str) -> Decoded:
        names, label = self.labelled(name)
        first = self.labelled("train")[0][:1]
        content = content_of(files.opened(self.path, f"{FIELD}.path"), [*first, *names])
        if self.image_size is None:
            pictures.check_sizes([*first, *names], content)
        return Decoded(names, {"label": label, "origin": names}, content, self._decode)

    def _decode(self, content: bytes, name: str) -> dict[str, np.ndarray]:
        return {"image": pictures.decode(content, name, self.mode, self.image_size)}
