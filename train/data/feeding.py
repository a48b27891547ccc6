"""Batches on their way: made ahead of their use on the host, and copied ahead to the devices."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import jax

from train import mesh as meshes
from train.data import Arrays, EvaluationBatches, TrainingBatches

DEVICE_AHEAD = 2  # Batches on their way to the device while one is computed on.


def on_devices(
    batches: TrainingBatches | EvaluationBatches, mesh: jax.sharding.Mesh, start: int = 0
) -> Iterator[dict[str, jax.Array]]:
    """Global batches on the mesh, from number `start` on, made and copied ahead of their use."""
    waiting: deque[dict[str, jax.Array]] = deque()
    for batch in on_host(batches, start):
        waiting.append(meshes.put_batch(mesh, batch, batches.rows, batches.data.batch_size))
        if len(waiting) > DEVICE_AHEAD:
            yield waiting.popleft()
    yield from waiting


def on_host(batches: TrainingBatches | EvaluationBatches, start: int = 0) -> Iterator[Arrays]:
    """The rows of this process, of every batch from number `start` on, made ahead of their use."""
    import grain  # Takes long to import, and a config is checked without it.

    data = batches.data
    steps: Any = grain.MapDataset.source(batches)[start:]
    host = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4))
    if data.workers and isinstance(batches, TrainingBatches):  # Evaluations are too short for processes to start.
        _parse_absl_flags()
        host = host.mp_prefetch(grain.MultiprocessingOptions(num_workers=data.workers))
    yield from host


def _parse_absl_flags() -> None:
    """Grain's workers read absl flags, which must have been parsed, even if there are none."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["train"])
