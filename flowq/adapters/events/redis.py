"""The events of each run in a Redis stream of its own.

An entry holds what one process had to tell of the run at one moment, as a JSON array: so events
cost few commands, and a reader few replies. The end of a run is marked in a field of its own, which
is all that those look at who wait for it. Streams are cut to a length, and forgotten some time
after the last event; what is gone is made from the rows by whoever reads (see
`engine.events.follow`).

Nothing here ever costs a run more than its events: while Redis is away they are dropped, counted,
and the next entry of the run says that some are missing.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from cachetools import TTLCache
from pydantic import ValidationError
from pydantic_core import to_json
from redis import Redis
from redis.exceptions import RedisError
from typing_extensions import override

from flowq.adapters.breaker import CircuitBreaker
from flowq.adapters.events.outbox import ENDS, INTERVAL, EventFields, Outbox
from flowq.core.errors import RedisUnavailable
from flowq.core.events import Event, from_fields
from flowq.core.ids import RunId
from flowq.engine.ports import Events, StreamEntry, StreamPage

logger = logging.getLogger(__name__)

#: Entries that one command reads at most.
_PAGE: Final = 500
#: Seconds that one command waits at most; clients give up a server that is silent for longer.
_BLOCK: Final = 2.5
#: Runs whose time to live this process remembers to have set.
_REMEMBERED: Final = 4_096
_EVENTS, _END, _LOST = b"events", b"end", b"lost"

_Entries: TypeAlias = list[tuple[bytes, dict[bytes, bytes]]]


class RedisEvents(Outbox, Events):
    """Implements `flowq.engine.ports.Events`: an outbox whose events are appended to streams.

    Args:
        client: A client, safe to share among threads.
        readers: A client whose connections may be held for seconds, by each reader one.
        max_entries: About how many entries a stream keeps.
        ttl: How long a stream is kept after its last event.
        interval: Seconds that events wait for others to leave with.
        prefix: What the names of its keys begin with.
    """

    def __init__(
        self,
        client: Redis,
        readers: Redis | None = None,
        *,
        max_entries: int = 10_000,
        ttl: timedelta = timedelta(days=1),
        interval: float = INTERVAL,
        prefix: str = "",
    ) -> None:
        super().__init__(self._append, interval)
        self._prefix = prefix
        self._client = client
        self._readers = readers or client
        self._max_entries = max_entries
        self._ttl = max(1, round(ttl.total_seconds()))
        # Refreshed now and then, so that what is left is never much shorter than it was.
        self._kept: TTLCache[RunId, bool] = TTLCache(_REMEMBERED, self._ttl / 10)
        self._breaker = CircuitBreaker(patience=5)

    @override
    def now(self) -> datetime:
        return datetime.now(UTC)

    # --- out -------------------------------------------------------------------------------------

    def _append(
        self, grouped: dict[RunId, list[EventFields]], missing: AbstractSet[RunId]
    ) -> AbstractSet[RunId]:
        """Send events; returns the runs whose events, or notice of missing ones, did not go out."""
        everything = grouped.keys() | missing
        if not self._breaker.allows():
            return everything
        pipeline = self._client.pipeline(transaction=False)
        for run_id, facts in grouped.items():
            self._add(pipeline, run_id, facts, lost=run_id in missing)
        try:
            replies = pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            self._failed(error)
            return everything
        refused = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if refused is not None:  # e.g. its memory is full
            self._failed(refused)
            return everything
        self._breaker.record_success()
        return missing - grouped.keys()

    def _failed(self, error: Exception) -> None:
        self._kept.clear()
        if self._breaker.record_failure():
            logger.warning(
                "events are dropped, runs continue without them: %s",
                error,
                extra={"action": "events"},
            )

    def _add(self, pipeline: Any, run_id: RunId, facts: list[EventFields], *, lost: bool) -> None:
        key = self._key(run_id)
        fields: list[Any] = [_EVENTS, to_json(facts, exclude_none=True)]
        ends = any(fact["event_type"] in ENDS for fact in facts)
        fields += [_END, 1] if ends else []
        fields += [_LOST, 1] if lost else []
        pipeline.execute_command("XADD", key, "MAXLEN", "~", self._max_entries, "*", *fields)
        if ends or run_id not in self._kept:
            pipeline.execute_command("EXPIRE", key, self._ttl)
            self._kept.pop(run_id, None)
            if not ends:
                self._kept[run_id] = True

    def _key(self, run_id: RunId) -> str:
        return f"{self._prefix}flowq:run:{run_id}:events"

    # --- in --------------------------------------------------------------------------------------

    @override
    def read(self, run_id: RunId, after: str | None = None, wait: float = 0) -> StreamPage:
        deadline = time.monotonic() + wait
        while True:
            entries, whole = self._read(run_id, after, deadline - time.monotonic())
            if entries or not whole or time.monotonic() >= deadline:
                return StreamPage(tuple(_entry(run_id, *entry) for entry in entries), whole)

    def _read(self, run_id: RunId, after: str | None, wait: float) -> tuple[_Entries, bool]:
        key = self._key(run_id)
        pipeline = self._readers.pipeline(transaction=False)
        pipeline.xread({key: after or "0"}, count=_PAGE, block=_block(wait))
        if after is not None:
            # Answered after the waiting: what came is whole only if its predecessor is still there.
            # An id is a time in milliseconds, so two streams may have the same id if the second one
            # is created within the millisecond in which the first one was lost.
            pipeline.xrange(key, after, after)
        try:
            found, *there = pipeline.execute()
        except (RedisError, OSError) as error:
            raise RedisUnavailable(
                f"the events of run {run_id} cannot be read: {error}", hint="flowq doctor"
            ) from error
        return _entries(found), not there or bool(there[0])

    @contextmanager
    @override
    def listening(self, run_id: RunId) -> Iterator[Callable[[float], None]]:
        key, last = self._key(run_id), b"0"
        try:
            newest: Any = self._readers.xrevrange(key, count=1)
            last = newest[0][0] if newest else last
        except (RedisError, OSError) as error:
            logger.debug("cannot listen for the end of run %s: %s", run_id, error)

        def wait(seconds: float) -> None:
            nonlocal last
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                try:
                    found = self._readers.xread({key: last}, block=_block(left))
                except (RedisError, OSError):
                    time.sleep(min(left, 0.1))
                    continue
                for last, fields in _entries(found):  # noqa: B007 - the last one is kept
                    if _END in fields:
                        return

        yield wait


def _block(seconds: float) -> int | None:
    """Return for how many milliseconds a command may wait; 0 would be forever."""
    return max(1, round(min(seconds, _BLOCK) * 1000)) if seconds > 0 else None


def _entries(found: Any) -> _Entries:
    """Return the entries of one stream, as XREAD answers in either protocol."""
    if not found:
        return []
    if isinstance(found, dict):
        return list(next(iter(found.values()))[0])
    return list(found[0][1])


def _entry(run_id: RunId, entry: bytes, fields: dict[bytes, bytes]) -> StreamEntry:
    """Return an entry; what a newer flowq has written, and this one does not know, is left out."""
    name = entry.decode()
    events: list[Event] = []
    for raw in json.loads(fields.get(_EVENTS, b"[]")):
        try:
            events.append(from_fields({**raw, "run_id": run_id}))
        except ValidationError as error:
            logger.debug("an unknown event in %s of run %s: %s", name, run_id, error)
    return StreamEntry(name, tuple(events), lost=_LOST in fields)
