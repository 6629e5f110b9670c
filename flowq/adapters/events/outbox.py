"""What a process has to tell, on its way out: a bounded queue and a thread that empties it.

A step pays for an event with a dict that is appended to a queue. The thread wakes a moment after
the first of them and sends all there is in one round trip; for the end of a run it wakes at once.
A queue that is full drops what comes, and whoever reads the run is told that something is missing.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias, get_args

from flowq.core.events import NAMES, EndEvent, Event, StreamChunk
from flowq.core.ids import RunId

logger = logging.getLogger(__name__)

_CHUNK: Final = NAMES[StreamChunk]
#: Names of the events that end a run.
ENDS: Final = frozenset(NAMES[kind] for kind in get_args(EndEvent))

#: Seconds that events wait for others to leave with; a bunch costs as much as 30 events in it.
INTERVAL: Final = 0.25
#: The same for pieces of text, which people see coming.
_TEXT_INTERVAL: Final = 0.1
#: Events that wait at most.
_LIMIT: Final = 20_000
#: Fields of an event, but for its run. No object of its own: those would keep the collector busy.
EventFields: TypeAlias = dict[str, Any]
#: Sends facts, grouped by run; the second argument names runs whose events were dropped before.
#: Returns the runs whose events, or whose notice of missing ones, it could not send.
Send: TypeAlias = Callable[[dict[RunId, list[EventFields]], AbstractSet[RunId]], AbstractSet[RunId]]


class Outbox:
    """Takes events at any time from any thread.

    Args:
        send: Sends them; called by one thread at a time.
        interval: Seconds that events wait for others.
        limit: How many may wait.

    Attributes:
        dropped: How many were dropped, since the queue was full or they could not be sent.
    """

    def __init__(self, send: Send, interval: float = INTERVAL, limit: int = _LIMIT) -> None:
        self.dropped = 0
        self._send = send
        self._interval = interval
        self._limit = limit
        self._queue: deque[tuple[RunId, EventFields]] = deque()
        self._missing: set[RunId] = set()
        self._filled = threading.Event()
        self._hurry = threading.Event()
        self._sending = threading.Lock()
        self._has_text = False
        self._pid = 0

    def publish(self, kind: type[Event], run_id: RunId, **fields: Any) -> None:
        """Let an event go out soon; neither raises nor waits."""
        fields["event_type"] = name = NAMES[kind]
        fields["timestamp"] = time.time()
        self.put(run_id, fields, urgent=name in ENDS)

    def put(self, run_id: RunId, fact: EventFields, *, urgent: bool = False) -> None:
        """Let a fact go out soon, or at once."""
        if self._pid != os.getpid():
            self._start()
        if len(self._queue) >= self._limit and not urgent:
            self.dropped += 1
            self._missing.add(run_id)
            return
        self._queue.append((run_id, fact))
        if fact["event_type"] == _CHUNK:
            self._has_text = True
        if urgent:
            self._hurry.set()
        if not self._filled.is_set():
            self._filled.set()

    def flush(self) -> None:
        """Send what there is, here and now."""
        with self._sending:
            count = len(self._queue)
            facts = [self._queue.popleft() for _ in range(count)]
            if not facts:
                return
            missing, self._missing = self._missing, set()
            grouped: dict[RunId, list[EventFields]] = {}
            for run_id, fact in facts:
                grouped.setdefault(run_id, []).append(fact)
            joined = {run_id: _joined(of_run) for run_id, of_run in grouped.items()}
            unsent = self._send(joined, missing)
            if unsent:
                self.dropped += sum(len(grouped.get(run_id, ())) for run_id in unsent)
                self._missing |= unsent
            if len(self._missing) > self._limit:
                self._missing.clear()  # an outage of hours: the end of each run is found in its row

    def _start(self) -> None:
        """Start the thread, in this process: a fork has none, and what waits is its parent's."""
        with self._sending:
            if self._pid != os.getpid():
                self._queue.clear()
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="flowq-events", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._filled.wait()
            text = min(_TEXT_INTERVAL, self._interval)
            if not self._hurry.wait(text) and not self._has_text:
                self._hurry.wait(self._interval - text)
            self._hurry.clear()
            self._has_text = False
            self._filled.clear()
            try:
                self.flush()
            except Exception:
                # It must outlive any single fault: nobody would start it again.
                logger.exception("events of this process were lost", extra={"action": "events"})


def _joined(facts: list[EventFields]) -> list[EventFields]:
    """Return facts with the pieces of one text as one, at the place of the first of them.

    Steps that put out text at the same time take turns token by token; joined only with its
    neighbour hardly any piece would be.
    """
    joined: list[EventFields] = []
    newest: dict[tuple[object, ...], list[EventFields]] = {}
    texts: list[list[EventFields]] = []
    for fact in facts:
        if fact["event_type"] == _CHUNK:
            stream = (fact["step"], fact["index"], fact["attempt"], fact["stream"])
            pieces = newest.get(stream)
            if pieces and pieces[-1]["offset"] + len(pieces[-1]["text"]) == fact["offset"]:
                pieces.append(fact)
                continue
            newest[stream] = [fact]
            texts.append(newest[stream])
        joined.append(fact)
    for pieces in texts:
        pieces[0]["text"] = "".join([piece["text"] for piece in pieces])
    return joined
