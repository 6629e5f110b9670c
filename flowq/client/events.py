"""The events of a run, for `for` and `async for`."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Final

from flowq import bootstrap
from flowq.client.event_log import Entry, EventLog, read
from flowq.client.followers import Followers
from flowq.core.events import Event
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.events.follow import follow
from flowq.engine.runtime.blocking import would_block
from flowq.engine.waits.explain import timed_out


def _as_entry(event: Event) -> list[Entry[Event]]:
    return [Entry(str(event.id), event)]


#: Who reads for the coroutines of this process; there may be as many runs as they like.
_FOLLOWERS: Final[Followers[EventLog[Event]]] = Followers(
    lambda: bootstrap.engine(),  # noqa: PLW0108 - looked up when it is called
    lambda _, notifier: EventLog(notifier, lambda: _as_entry),
    most=100_000,
    retry=False,
)


def refuse_to_hold_a_worker(run_id: RunId, flow_name: str) -> None:
    """Raise `WouldBlock` if the run has not ended, and waiting for it would hold a worker."""
    error = would_block(run_id, flow_name, bootstrap.serves_tasks)
    if error is None:
        return
    state = bootstrap.engine().records.autocommit(lambda tx: tx.runs.status(run_id))
    if state not in TERMINAL_RUN_STATES:
        raise error


class RunEvents:
    """The events of a run; each `for` and `async for` begins after `after`.

    All `async for` loops of a process that follow one run share a thread that reads for them.
    """

    def __init__(
        self,
        run_id: RunId,
        flow_name: str,
        after: str | None,
        timeout: float | None,
        *,
        wait: bool,
    ) -> None:
        self._run_id = run_id
        self._flow_name = flow_name
        self._after = after
        self._timeout = timeout
        self._wait = wait

    def __iter__(self) -> Iterator[Event]:
        if self._wait:
            refuse_to_hold_a_worker(self._run_id, self._flow_name)
        return follow(
            bootstrap.engine(),
            self._run_id,
            after=self._after,
            timeout=self._timeout,
            wait=self._wait,
        )

    async def __aiter__(self) -> AsyncIterator[Event]:
        if not self._wait:
            for event in await asyncio.to_thread(list, self):
                yield event
            return
        refuse_to_hold_a_worker(self._run_id, self._flow_name)
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        pages = read(_FOLLOWERS, self._run_id, self._after, deadline=deadline)
        async with aclosing(pages):
            async for entries in pages:
                for entry in entries:
                    yield entry.data
                if deadline is not None and not entries and time.monotonic() >= deadline:
                    raise await asyncio.to_thread(self._too_late)

    def _too_late(self) -> Exception:
        assert self._timeout is not None
        engine = bootstrap.engine()
        return timed_out(engine, self._run_id, "is not finished", self._timeout)
