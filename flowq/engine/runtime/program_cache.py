"""Programs that stay in memory while they wait, so that they need no replay.

A cached execution agrees with the rows up to the last event that it has seen. If it is behind the
rows, since another process has continued its run, it is fed the missing events; if it is ahead of
them, it is discarded. An attempt takes the program out, and puts it back after its commit. One may
have run ahead: it has seen the end of one more call, which its rows have, or will have soon.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from flowq.core.ids import RunId
from flowq.engine.model.programs import CalledRow
from flowq.engine.replay import Execution, ReplayOutcome


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a program has done with the end of a call before the program's row says so."""

    row: CalledRow  #: The call as it has seen it.
    progress: ReplayOutcome

    def has_seen(self, rows: Sequence[CalledRow]) -> bool:
        """Return whether it has seen these ended calls, which are read from their rows."""
        return [_end(row) for row in rows] == [_end(self.row)]


def _end(row: CalledRow) -> tuple[object, ...]:
    return row.id, row.stored.status, row.completed_at, row.stored.result


@dataclass(frozen=True, slots=True)
class CachedProgram:
    """A program after a number of events."""

    execution: Execution
    observed: int
    ahead: Ahead | None = None  #: What it has done beyond that.


class ProgramCache:
    """The most recently used programs of this process.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: dict[RunId, CachedProgram] = {}

    def take(self, run_id: RunId) -> CachedProgram | None:
        """Take a program out; the caller then owns it alone."""
        with self._lock:
            return self._kept.pop(run_id, None)

    def observed(self, run_id: RunId) -> int | None:
        """Return how many events the cached program of a run has seen; None if there is none."""
        with self._lock:
            kept = self._kept.get(run_id)
            return None if kept is None else kept.observed

    def clear(self) -> None:
        """Discard all of them."""
        with self._lock:
            dropped = list(self._kept.values())
            self._kept.clear()
        for one in dropped:
            one.execution.close()

    def put(self, run_id: RunId, live: CachedProgram) -> None:
        """Cache a program, unless the cached one has seen more."""
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
