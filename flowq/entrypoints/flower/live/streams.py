"""Live pages: server-sent events of one run, and of the list of runs.

    GET /flows/<id>/live   {"run": [{status, done, total, ms, since, ended, …}],
                            "steps": [{key, status, attempt, since, items, …}],
                            "text": [{key, index, attempt, stream, offset, text}]}
    GET /flows/live        {"runs": [{id, flow, status, done, total, ms, since, …}],
                            "list": [{ids: [those of the list, in its order]}]}

The list is that of `/flows` with the same arguments.

`…` are tokens, cost (of model calls with a known cost) and unpriced (the number of other calls).

A message has the changes; the first one has everything, unless `Last-Event-ID` says where to
continue. `"reload": true` means that there are too many changes to list. No stream reads the
database itself: see `hub`. Text of steps is only sent with FLOWQ_SHOW_CONTENT=1.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, authenticated

from flowq import bootstrap
from flowq.client.followers import TooManyRuns
from flowq.core.errors import FlowqError, RunNotFound
from flowq.entrypoints.flower.live.hub import Hub, Source
from flowq.entrypoints.flower.live.poller import TooManyLists
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages import filters
from flowq.entrypoints.flower.pages.filters import ListQuery
from flowq.entrypoints.flower.pages.run.request import run_id_of

#: Seconds of silence after which a comment is sent, so that no proxy closes the connection.
_BEAT: Final = 15.0
#: Seconds between two messages to one page; changes meanwhile are sent together.
_MIN_INTERVAL: Final = 0.1
#: Seconds in which a page has to read a message; otherwise it is disconnected and reconnects.
_PATIENCE: Final = 30.0
#: Milliseconds after which a page reconnects.
_RETRY: Final = 1000


@cache
def hub() -> Hub:
    """Return the hub of this process."""
    return Hub(bootstrap.engine, shows_content=bootstrap.settings().show_content)


class LiveHandler(PageHandler):
    """The base of both streams."""

    def initialize(self) -> None:
        """Prepare the event for a closed connection."""
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        """End `stream_changes`."""
        self._gone.set()

    async def stream_changes(self, source: Source, wakeup: asyncio.Event) -> None:
        """Send changes until the source ends or the client disconnects."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")  # otherwise nginx buffers the stream
        seen = self.request.headers.get("Last-Event-ID", "")
        self.write(f"retry: {_RETRY}\n\n")
        with suppress(StreamClosedError, asyncio.TimeoutError):
            await self._send()
            while not self._gone.is_set():
                wakeup.clear()
                over = source.over  # read before the changes: none come after it
                delta = source.since(seen)
                if delta:
                    seen = delta.id
                    self.write(delta.sse())
                    await self._send()
                if over:
                    return
                await self._wait(wakeup)
        # A client that has not read in time: close the connection, so that it notices.
        if self.request.connection and not self._finished and not self._gone.is_set():
            self.request.connection.close()

    async def _wait(self, wakeup: asyncio.Event) -> None:
        """Wait for a change, for a minimum time; send a comment if none comes for long."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._gone.wait(), _MIN_INTERVAL)
            return
        woken = asyncio.ensure_future(wakeup.wait())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            done, _ = await asyncio.wait(
                {woken, gone}, timeout=_BEAT, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            woken.cancel()
            gone.cancel()
        if not done:
            self.write(": still here\n\n")
            await self._send()

    async def _send(self) -> None:
        await asyncio.wait_for(self.flush(), _PATIENCE)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer errors by the status alone: no person reads the body."""
        error = kwargs["exc_info"][1] if kwargs.get("exc_info") else None
        if not isinstance(error, FlowqError):
            super().write_error(status_code, **kwargs)
            return
        self.set_status(404 if isinstance(error, RunNotFound) else 503)
        self.finish()


class RunLiveHandler(LiveHandler):
    """`/flows/<id>/live`: the changes of a run."""

    @authenticated
    async def get(self, run_id: str) -> None:
        """Send events until the run has ended."""
        found = run_id_of(run_id)
        known = await self.read(
            lambda engine: engine.records.autocommit(lambda tx: tx.runs.status(found))
        )
        if known is None:
            raise RunNotFound.of(found)
        try:
            with hub().run(found, known) as (source, wakeup):
                await self.stream_changes(source, wakeup)
        except TooManyRuns:
            raise HTTPError(503, "too many runs are being watched") from None


class FlowsLiveHandler(LiveHandler):
    """`/flows/live`: the changes of a list of runs."""

    @authenticated
    async def get(self) -> None:
        """Send events until the client disconnects."""
        given = {name: self.get_query_argument(name, "") for name in filters.ARGUMENTS}

        def query() -> ListQuery:
            return filters.parse(given, datetime.now(UTC))

        if query().problems:
            raise HTTPError(400, "there is no such list")
        try:
            with hub().runs(frozenset(given.items()), query) as (source, wakeup):
                await self.stream_changes(source, wakeup)
        except TooManyLists:
            raise HTTPError(503, "too many lists are being watched") from None
