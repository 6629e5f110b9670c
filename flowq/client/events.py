"""The events of a run, for `for` and `async for`."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

from flowq import bootstrap
from flowq.core.events import Event
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.events.follow import follow
from flowq.engine.runtime.blocking import would_block

#: Events that a thread reads ahead of async code.
_AHEAD = 1_000


def refuse_to_hold_a_worker(run_id: RunId, flow_name: str) -> None:
    """Raise `WouldBlock` if the run has not ended, and waiting for it would hold a worker."""
    error = would_block(run_id, flow_name, bootstrap.serves_tasks)
    if error is None:
        return
    state = bootstrap.engine().records.autocommit(lambda tx: tx.runs.status(run_id))
    if state not in TERMINAL_RUN_STATES:
        raise error


class RunEvents:
    """The events of a run; each `for` and `async for` begins where it was told to.

    In async code a thread of its own reads them, for as long as the loop lasts.
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
        return self._follow(lambda: False)

    async def __aiter__(self) -> AsyncIterator[Event]:
        if self._wait:
            refuse_to_hold_a_worker(
                self._run_id, self._flow_name
            )  # not in the thread, which is none of the step's
        left = threading.Event()
        events = in_thread(lambda: self._follow(left.is_set))
        try:
            async for event in events:
                yield event
        finally:
            left.set()

    def _follow(self, stopped: Callable[[], bool]) -> Iterator[Event]:
        return follow(
            bootstrap.engine(),
            self._run_id,
            after=self._after,
            timeout=self._timeout,
            wait=self._wait,
            stopped=stopped,
        )


async def in_thread(make: Callable[[], Iterator[Event]]) -> AsyncIterator[Event]:
    """Go through an iterator in a thread, a bounded number of events ahead."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def put(what: Event | BaseException | None) -> None:
        # The loop may have ended while the thread was waiting: then nobody listens.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(arrived.put_nowait, what)

    def run() -> None:
        try:
            for event in make():
                room.acquire()
                put(event)
        except BaseException as error:  # noqa: BLE001 - it is raised again by the reader
            put(error)
        else:
            put(None)

    threading.Thread(target=run, name="flowq-reader", daemon=True).start()
    try:
        while (what := await arrived.get()) is not None:
            if isinstance(what, BaseException):
                raise what
            room.release()
            yield what
    finally:
        room.release(_AHEAD * 2)  # lets the thread see that it is to leave
