"""Examples that are arrays in memory."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class InMemory:
    """Arrays [N, ...] by name, all of one length."""

    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: array[indices] for name, array in self.arrays.items()}
