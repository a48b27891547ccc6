"""A trace of some updates, for TensorBoard, XProf or Perfetto."""

from typing import Any

import jax
from etils import epath


class Profile:
    """Writes a trace of the updates from START to STOP."""

    def __init__(self, folder: epath.Path, window: tuple[int, int] | None):
        self._folder = folder / "profile"
        self._window = window
        self._running = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *error: object) -> None:
        if self._running:
            jax.profiler.stop_trace()

    def before(self, done: int) -> None:
        if self._window is not None and done + 1 == self._window[0]:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, done: int, metrics: Any) -> None:
        if self._running and self._window is not None and done == self._window[1]:
            jax.block_until_ready(metrics)
            jax.profiler.stop_trace()
            self._running = False
