"""Being told to stop: by SIGTERM (a preemption, a scheduler) or SIGINT (Ctrl-C)."""

import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils


class Signals:
    """Notes SIGTERM and SIGINT instead of dying; a second SIGINT ends the program as usual."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        # With several processes, JAX's preemption service catches SIGTERM and finds a step that all of them can reach.
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            self._before = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True

    def stop_after(self, done: int) -> bool:
        """Whether the run must end after this update, the same answer in all processes."""
        return multihost_utils.reached_preemption_sync_point(done) if jax.process_count() > 1 else self._asked
