"""An engine that is started when it is first needed, in a thread of its own, so that no frame waits for it."""

import sys
import threading
from typing import Callable, Optional

import numpy as np

from device.bundle.reader import Bundle
from device.engines.base import Engine
from device.errors import EdgeError


class SleepingEngine:
    """Sleeps until ``wake``; ``engine`` is there some time later. For the loop's thread, but for the thread that starts the engine.

    Args:
        bundle: whose head the engine runs.
        start: makes the engine.
    """

    def __init__(self, bundle: Bundle, start: Callable[[], Engine]) -> None:
        self.engine: Optional[Engine] = None
        """None while it sleeps, is being started, or after it could not be started."""
        self._bundle = bundle
        self._start = start
        self._starter: Optional[threading.Thread] = None

    def wake(self) -> None:
        """Start the engine in a thread, once."""
        if self._starter is None:
            self._starter = threading.Thread(target=self._run, daemon=True)
            self._starter.start()

    def wait(self) -> Optional[Engine]:
        """Wake it, and wait for it; None where it could not be started."""
        self.wake()
        if self._starter is not None:
            self._starter.join()
        return self.engine

    def close(self) -> None:
        """Free its memory. A start that is under way is waited for."""
        if self._starter is not None:
            self._starter.join()
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()

    def _run(self) -> None:
        try:
            engine = self._start()
            engine.run(np.zeros((1, *self._bundle.input_shape), np.float32), 2.0)  # warm: through every exit
        except EdgeError as error:
            print("warning: the hardened twin sleeps on: {}".format(error), file=sys.stderr, flush=True)
            return
        self.engine = engine
