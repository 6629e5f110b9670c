"""Live pages: server-sent events of one run, and of the list of runs.

    GET /flows/<id>/live   {"run": [{status, done, total, ms, since, ended, …}],
                            "steps": [{key, status, attempt, since, items, …}],
                            "text": [{key, index, attempt, stream, offset, text}]}
    GET /flows/live        {"runs": [{id, flow, status, done, total, ms, since, …}],
                            "list": [{ids: [those of the list, in its order]}]}

The list is that of `/flows` with the same arguments.

In place of `…` stand tokens, cost (of calls of models whose cost is known) and unpriced (how many
calls are not in it).

A message has what has changed; the first one has everything, unless `Last-Event-ID` says from where
to go on. `"reload": true` says that too much has changed to be listed. Nothing here asks the
database for a page: see `hub`. Text of steps is only sent with FLOWQ_SHOW_CONTENT=1.
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
from flowq.entrypoints.flower.pages.run_request import run_id_of

#: Seconds of silence after which a comment is sent, so that nobody in between hangs up.
_BEAT: Final = 15.0
#: Seconds between two messages to one page; what changes meanwhile goes together.
_MIN_INTERVAL: Final = 0.1
#: Seconds in which a page takes what it was sent, or is disconnected; it reconnects.
_PATIENCE: Final = 30.0
#: Milliseconds after which a page reconnects.
_RETRY: Final = 1000


@cache
def hub() -> Hub:
    """Return the hub of this process."""
    return Hub(bootstrap.engine, shows_content=bootstrap.settings().show_content)


class LiveHandler(PageHandler):
    """What both streams do alike."""

    def initialize(self) -> None:
        """Know when the client has gone."""
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        """Let `stream_changes` end."""
        self._gone.set()

    async def stream_changes(self, source: Source, wakeup: asyncio.Event) -> None:
        """Send what changes, until it ends or the client has gone."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")  # nginx would keep it to itself
        seen = self.request.headers.get("Last-Event-ID", "")
        self.write(f"retry: {_RETRY}\n\n")
        with suppress(StreamClosedError, asyncio.TimeoutError):
            await self._send()
            while not self._gone.is_set():
                wakeup.clear()
                over = source.over  # before what there is: nothing comes after it
                delta = source.since(seen)
                if delta:
                    seen = delta.id
                    self.write(delta.sse())
                    await self._send()
                if over:
                    return
                await self._wait(wakeup)
        # Whoever did not take what was sent: the connection is closed, so that it notices.
        if self.request.connection and not self._finished and not self._gone.is_set():
            self.request.connection.close()

    async def _wait(self, wakeup: asyncio.Event) -> None:
        """Wait for a change, for a moment at least; say something if there is none for long."""
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
        """Say what flowq refused by the status alone: no person reads this."""
        error = kwargs["exc_info"][1] if kwargs.get("exc_info") else None
        if not isinstance(error, FlowqError):
            super().write_error(status_code, **kwargs)
            return
        self.set_status(404 if isinstance(error, RunNotFound) else 503)
        self.finish()


class RunLiveHandler(LiveHandler):
    """`/flows/<id>/live`: what changes in a run."""

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
    """`/flows/live`: what changes in a list of runs."""

    @authenticated
    async def get(self) -> None:
        """Send events as long as the client is there."""
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
