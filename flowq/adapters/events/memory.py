"""Events within one process, for tests and for flows that are run without a broker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from flowq.core.ids import RunId


class MemoryEvents:
    """Implements `flowq.engine.ports.Events`."""

    def __init__(self) -> None:
        self._ended: set[RunId] = set()
        self._rung = Condition()

    def run_ended(self, run_id: RunId) -> None:
        """Wake whoever waits for a run."""
        with self._rung:
            self._ended.add(run_id)
            self._rung.notify_all()

    @contextmanager
    def listening(self, run_id: RunId) -> Iterator[Callable[[float], None]]:
        """Give a function that waits for the end of a run, for so many seconds at most."""

        def wait(seconds: float) -> None:
            with self._rung:
                self._rung.wait_for(lambda: run_id in self._ended, seconds)

        yield wait
