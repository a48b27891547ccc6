"""Examples whose files are decoded when they are asked for."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from train.data import files

Content = Callable[[str], bytes]  # What is in the file of a name.


def content_of(opened: files.Files, names: Iterable[str]) -> Content:
    """Reads the named files. Those of an archive, which is best read once and in its order, are held in memory."""
    if isinstance(opened, files.Folder):
        return lambda name: opened.contents([name])[name]
    return opened.contents(list(names)).__getitem__


@dataclasses.dataclass(frozen=True)
class Decoded:
    """Examples that have a file each.

    Attributes:
        names: the file of each example [N].
        columns: entries that are in memory, [N, ...] each.
        content: what is in a file.
        decode: the other entries of an example, from the content of its file and its name.
    """

    names: np.ndarray
    columns: Mapping[str, np.ndarray]
    content: Content
    decode: Callable[[bytes, str], Mapping[str, np.ndarray]]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        decoded = [self.decode(self.content(name), name) for name in self.names[indices]]
        batch = {key: np.stack([example[key] for example in decoded]) for key in decoded[0]}
        return batch | {key: column[indices] for key, column in self.columns.items()}

    def column(self, name: str) -> np.ndarray:
        return self.columns[name]
