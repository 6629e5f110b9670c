"""Events within one process, for tests and for flows that are run without a broker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Condition
from typing import Any

from cachetools import FIFOCache
from typing_extensions import override

from flowq.core.events import NAMES, EndEvent, Event, from_fields
from flowq.core.ids import RunId
from flowq.engine.ports import Events, StreamEntry, StreamPage

#: Runs whose streams are kept; then that goes which was begun first.
_KEPT = 1_000


class MemoryEvents(Events):
    """Implements `flowq.engine.ports.Events`.

    Args:
        max_entries: How many entries a stream keeps.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_entries: int = 100_000,
    ) -> None:
        self._now = now
        self._max_entries = max_entries
        self._streams: FIFOCache[RunId, list[StreamEntry]] = FIFOCache(_KEPT)
        self._count = 0
        self._rung = Condition()

    @override
    def now(self) -> datetime:
        return self._now()

    @override
    def publish(self, kind: type[Event], run_id: RunId, **fields: Any) -> None:
        known = {"event_type": NAMES[kind], "run_id": run_id, "timestamp": self._now()}
        event = from_fields({**known, **fields})
        with self._rung:
            self._count += 1
            entries = self._streams.setdefault(run_id, [])
            entries.append(StreamEntry(f"{self._count}-0", (event,)))
            del entries[: -self._max_entries]
            self._rung.notify_all()

    @override
    def flush(self) -> None:
        """Do nothing: what is published is there."""

    def forget(self) -> None:
        """Lose all streams, as a Redis does that comes back empty."""
        with self._rung:
            self._streams.clear()
            self._rung.notify_all()

    @override
    def read(self, run_id: RunId, after: str | None = None, wait: float = 0) -> StreamPage:
        with self._rung:
            self._rung.wait_for(lambda: self._changed(run_id, after), wait)
            ids = [entry.id for entry in self._entries(run_id)]
            whole = after is None or after in ids
            return StreamPage(tuple(self._after(run_id, after)), whole)

    @contextmanager
    @override
    def listening(self, run_id: RunId) -> Iterator[Callable[[float], None]]:
        heard = len(self._entries(run_id))

        def has_ended() -> bool:
            late = self._entries(run_id)[heard:]
            return any(isinstance(event, EndEvent) for entry in late for event in entry.events)

        def wait(seconds: float) -> None:
            with self._rung:
                self._rung.wait_for(has_ended, seconds)

        yield wait

    def _entries(self, run_id: RunId) -> list[StreamEntry]:
        return self._streams.get(run_id, [])

    def _after(self, run_id: RunId, after: str | None) -> list[StreamEntry]:
        place = _place(after)
        return [entry for entry in self._entries(run_id) if _place(entry.id) > place]

    def _changed(self, run_id: RunId, after: str | None) -> bool:
        ids = [entry.id for entry in self._entries(run_id)]
        return bool(self._after(run_id, after)) or (after is not None and after not in ids)


def _place(entry: str | None) -> int:
    return int(entry.partition("-")[0]) if entry else 0
