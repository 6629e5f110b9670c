"""Live pages: server-sent events of one run, and of the list of runs.

    GET /flows/<id>/live   {"run": [{status, done, total, ms, since, ended, …}],
                            "steps": [{key, status, attempt, since, items, …}],
                            "text": [{key, index, attempt, stream, offset, text}]}
    GET /flows/live        {"runs": [{id, flow, status, done, total, ms, since, …}],
                            "list": [{ids: [those of the list, in its order]}]}
    GET /flows/live/many   {page, id, news: one of the above}, or {page, over}, or {page, refused}

The list is that of `/flows` with the same arguments. `many` is for a browser with many tabs, which
may have only six connections: `page` is repeated for each, and `seen` are the last ids, in the same
order. A page that cannot be followed is refused with a status; the others go on.

`…` are tokens, cost (of model calls with a known cost) and unpriced (the number of other calls).

A message has the changes; the first one has everything, unless `Last-Event-ID` says where to
continue. `"reload": true` means that there are too many changes to list, and `"stale": [{since}]`
that the database has not answered since then; without `since` it answers again. No stream reads the
database itself: see `hub`. Text of steps is only sent with FLOWQ_SHOW_CONTENT=1.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, authenticated

from flowq import bootstrap
from flowq.client.followers import TooManyRuns
from flowq.core.errors import FlowqError, InvalidInput, RunNotFound
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
#: Pages that may share a stream.
_MAX_PAGES: Final = 64
_RUN_STREAM: Final = re.compile(r"/flows/([0-9a-f-]{36})/live$")


@cache
def hub() -> Hub:
    """Return the hub of this process."""
    return Hub(bootstrap.engine, shows_content=bootstrap.settings().show_content)


@dataclass
class Feed:
    """What one page follows.

    Attributes:
        page: The address of its own stream, when several share this one.
        seen: The id of the last change that it has.
    """

    source: Source
    wakeup: asyncio.Event
    seen: str = ""
    page: str | None = None

    def message(self, feeds: Sequence["Feed"]) -> str:
        """Return what has changed, as an event, and remember that it is seen; "" if nothing has."""
        delta = self.source.since(self.seen)
        if not delta:
            return ""
        self.seen = delta.id
        if self.page is None:
            return delta.sse()
        known = ",".join(feed.seen for feed in feeds)
        return f"id: {known}\n{_data(page=self.page, id=delta.id, news=delta.data())}"

    def end(self) -> str:
        """Return the event that nothing more comes; the stream of one page just ends."""
        return "" if self.page is None else _data(page=self.page, over=True)


def _data(**values: Any) -> str:
    return f"data: {json.dumps(values, separators=(',', ':'))}\n\n"


class LiveHandler(PageHandler):
    """The base of both streams."""

    def initialize(self) -> None:
        """Prepare the event for a closed connection."""
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        """End `stream_changes`."""
        self._gone.set()

    async def stream_changes(self, feeds: Sequence["Feed"]) -> None:
        """Send changes until all sources have ended or the client disconnects."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")  # otherwise nginx buffers the stream
        self.write(f"retry: {_RETRY}\n\n")
        going = list(feeds)
        with suppress(StreamClosedError, asyncio.TimeoutError):
            await self._send()
            while not self._gone.is_set():
                for feed in going:
                    feed.wakeup.clear()
                over = [feed for feed in going if feed.source.over]  # no changes come after it
                messages = [text for feed in going if (text := feed.message(feeds))]
                messages += [feed.end() for feed in over]
                if messages:
                    self.write("".join(messages))
                    await self._send()
                going = [feed for feed in going if feed not in over]
                if not going:
                    return
                await self._wait(going)
        # A client that has not read in time: close the connection, so that it notices.
        if self.request.connection and not self._finished and not self._gone.is_set():
            self.request.connection.close()

    async def _wait(self, feeds: Sequence["Feed"]) -> None:
        """Wait for a change, for a minimum time; send a comment if none comes for long."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._gone.wait(), _MIN_INTERVAL)
            return
        waited = [
            asyncio.ensure_future(event.wait())
            for event in (self._gone, *(feed.wakeup for feed in feeds))
        ]
        try:
            done, _ = await asyncio.wait(waited, timeout=_BEAT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waited:
                one.cancel()
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

    async def run_feed(self, stack: ExitStack, run_id: str) -> Feed:
        """Follow a run until the stack is closed.

        Raises:
            RunNotFound: there is no such run.
            TooManyRuns: too many others are followed.
        """
        found = run_id_of(run_id)
        known = await self.read(
            lambda engine: engine.records.autocommit(lambda tx: tx.runs.status(found))
        )
        if known is None:
            raise RunNotFound.of(found)
        return Feed(*stack.enter_context(hub().run(found, known)))

    def list_feed(self, stack: ExitStack, arguments: Mapping[str, str]) -> Feed:
        """Follow a list of runs until the stack is closed.

        Raises:
            InvalidInput: an argument is invalid.
            TooManyLists: too many others are followed.
        """
        given = {name: arguments.get(name, "") for name in filters.ARGUMENTS}
        shows_content, labels = self.shows_content, self.labels

        def query() -> ListQuery:
            return filters.parse(
                given, datetime.now(UTC), shows_content=shows_content, labels=labels
            )

        if query().problems:
            raise InvalidInput("there is no such list")
        return Feed(*stack.enter_context(hub().runs(frozenset(given.items()), query)))


class RunLiveHandler(LiveHandler):
    """`/flows/<id>/live`: the changes of a run."""

    @authenticated
    async def get(self, run_id: str) -> None:
        """Send events until the run has ended."""
        with ExitStack() as stack:
            try:
                feed = await self.run_feed(stack, run_id)
            except TooManyRuns:
                raise HTTPError(503, "too many runs are being watched") from None
            feed.seen = self.request.headers.get("Last-Event-ID", "")
            await self.stream_changes([feed])


class FlowsLiveHandler(LiveHandler):
    """`/flows/live`: the changes of a list of runs."""

    @authenticated
    async def get(self) -> None:
        """Send events until the client disconnects."""
        given = {name: self.get_query_argument(name, "") for name in filters.ARGUMENTS}
        with ExitStack() as stack:
            try:
                feed = self.list_feed(stack, given)
            except InvalidInput as error:
                raise HTTPError(400, error.message) from None
            except TooManyLists:
                raise HTTPError(503, "too many lists are being watched") from None
            feed.seen = self.request.headers.get("Last-Event-ID", "")
            await self.stream_changes([feed])


class ManyLiveHandler(LiveHandler):
    """`/flows/live/many`: the changes of several pages."""

    @authenticated
    async def get(self) -> None:
        """Send events until all runs have ended or the client disconnects.

        Raises:
            HTTPError: 400; it names no page, too many, or one twice.
        """
        pages = self.get_query_arguments("page")
        if not 0 < len(pages) <= _MAX_PAGES or len(set(pages)) < len(pages):
            raise HTTPError(400, f"name 1 to {_MAX_PAGES} different pages")
        last = self.request.headers.get("Last-Event-ID")
        seen = self.get_query_arguments("seen") if last is None else last.split(",")
        seen += [""] * (len(pages) - len(seen))
        with ExitStack() as stack:
            feeds = []
            for page, known in zip(pages, seen, strict=False):
                refused = 404
                try:
                    feed = await self._feed(stack, page)
                except (TooManyRuns, TooManyLists):
                    feed, refused = None, 503
                except FlowqError:
                    feed = None
                if feed is None:
                    self.write(_data(page=page, refused=refused))
                    continue
                feed.page, feed.seen = page, known
                feeds.append(feed)
            await self.stream_changes(feeds)

    async def _feed(self, stack: ExitStack, page: str) -> Feed | None:
        """Follow what a page follows; None if its address is not that of a stream."""
        try:
            address = urlsplit(page)
        except ValueError:
            return None
        if found := _RUN_STREAM.search(address.path):
            return await self.run_feed(stack, found[1])
        if address.path.endswith("/flows/live"):
            return self.list_feed(stack, dict(parse_qsl(address.query)))
        return None
