"""Programs that are kept alive in this process while they wait, so that they need no replay.

An execution says the same as the rows up to the last event that it has seen, or it is not kept. So
one that is behind the rows, since another process has gone on with its run, is fed what was seen
meanwhile; one that is ahead of them is thrown away. Whoever goes on with a program takes it out,
and puts it back when what it did is committed.
"""

from dataclasses import dataclass
from threading import Lock

from flowq.core.ids import RunId
from flowq.engine.replay import Execution


@dataclass(frozen=True, slots=True)
class CachedProgram:
    """A program as it stands after so many events."""

    execution: Execution
    observed: int


class ProgramCache:
    """The programs of this process that were used last.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: dict[RunId, CachedProgram] = {}

    def take(self, run_id: RunId) -> CachedProgram | None:
        """Take a program out; whoever has it is the only one."""
        with self._lock:
            return self._kept.pop(run_id, None)

    def clear(self) -> None:
        """Throw all of them away."""
        with self._lock:
            dropped = list(self._kept.values())
            self._kept.clear()
        for one in dropped:
            one.execution.close()

    def put(self, run_id: RunId, live: CachedProgram) -> None:
        """Keep a program, unless one is kept that has seen more."""
        dropped: list[CachedProgram] = []
        with self._lock:
            other = self._kept.pop(run_id, None)
            if other is not None and other.observed > live.observed:
                other, live = live, other
            dropped += [other] if other is not None else []
            self._kept[run_id] = live
            while len(self._kept) > self._size:
                dropped.append(self._kept.pop(next(iter(self._kept))))
        for one in dropped:
            one.execution.close()
