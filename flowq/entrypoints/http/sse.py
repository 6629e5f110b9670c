"""Server-sent events: sends the logged frames of a run to any number of clients.

A frame is made once, as bytes, for all clients. A client that sends `Last-Event-ID` continues after
it. Nothing is buffered for a client that has disconnected, and a client that stops reading is
disconnected. After some seconds of silence a comment is sent, so that no proxy closes the
connection.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, ClassVar, Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from flowq import bootstrap
from flowq.client.event_log import Entry, EventLog, Translate, read
from flowq.client.followers import Followers, TooManyRuns
from flowq.core.errors import FlowqError
from flowq.core.ids import RunId
from flowq.entrypoints.http.problems import problem_of

logger = logging.getLogger(__name__)

#: Maximum runs that streams of one kind follow.
_MAX_RUNS: Final = 128
#: Seconds for which a run is followed after its last client has disconnected.
_LINGER: Final = 5.0
#: Seconds between two writes to one client; frames meanwhile are sent together.
_PACE: Final = 0.05
#: Seconds of silence after which a comment is sent.
_PING: Final = 20.0
#: Seconds in which a client has to read the sent frames.
_PATIENCE: Final = 30.0
#: The beginning of a stream: milliseconds after which a client reconnects.
RETRY: Final = b"retry: 1000\n\n"

HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

#: Followers whose logs hold frames.
FrameFollowers = Followers[EventLog[bytes]]


def frame(place: str, data: str, event: str | None = None, *, has_id: bool = True) -> Entry[bytes]:
    """Return a frame as an entry of a log.

    Args:
        place: Id of the entry.
        data: JSON in one line.
        event: The name of the event.
        has_id: Whether clients get the id.
    """
    sent = format_sse_event(data_str=data, event=event, id=place if has_id else None)
    return Entry(place, sent, len(sent) + 200)


def frame_followers(translator: Callable[[RunId], Translate[bytes]]) -> FrameFollowers:
    """Return followers that log frames.

    Args:
        translator: Makes the translator of the events of a run to frames, from the first event on.
    """
    return Followers(
        lambda: bootstrap.engine(),  # noqa: PLW0108 - looked up when it is called
        lambda run_id, notifier: EventLog(notifier, lambda: translator(run_id)),
        most=_MAX_RUNS,
        linger=_LINGER,
    )


class Streams:
    """Counts the streams that this process sends.

    Args:
        most: The maximum number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0

    def check(self) -> None:
        """Refuse a stream that would be one too many.

        Raises:
            TooManyRuns: there are too many.
        """
        if self.count >= self._most:
            raise TooManyRuns

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a stream during a block.

        Raises:
            TooManyRuns: there are too many.
        """
        self.check()
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


class EventStream(StreamingResponse):
    """The answer that sends the frames of a run until it ends or the client disconnects.

    Args:
        followers: The followers that log the frames.
        run_id: The run, which exists.
        after: Id of the frame to continue after.
        begin: The first bytes of the stream.
    """

    media_type = "text/event-stream"
    #: What is sent after some seconds of silence.
    silence: ClassVar[bytes] = KEEPALIVE_COMMENT

    def __init__(
        self,
        followers: FrameFollowers,
        run_id: RunId,
        after: str | None = None,
        *,
        begin: bytes = b"",
    ) -> None:
        super().__init__(self._chunks(followers, run_id, after, begin), headers=HEADERS)

    @staticmethod
    def failure(error: FlowqError) -> bytes:
        """Return what is sent when the run cannot be followed any more."""
        problem = problem_of(error)[1].model_dump_json(exclude_none=True)
        return format_sse_event(data_str=problem, event="ERROR")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream.

        Raises:
            TooManyRuns: before anything is sent: too many streams, or other runs, are followed.
        """
        streams: Streams = scope["app"].state.streams
        with streams.one_more():
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the head once the run is followed, then frames as they come."""
        chunks: Any = self.body_iterator
        async with aclosing(chunks):
            first = await anext(chunks)
            head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(head)
            try:
                await _send(send, first)
                async for chunk in chunks:
                    await _send(send, chunk)
                await _send(send, b"", more=False)
            except TimeoutError:
                logger.debug("a client reads nothing and is disconnected; it may reconnect")

    async def _chunks(
        self, followers: FrameFollowers, run_id: RunId, after: str | None, begin: bytes
    ) -> AsyncGenerator[bytes]:
        pages = read(followers, run_id, after, idle=_PING, pace=_PACE)
        async with aclosing(pages):
            await anext(pages)  # the run is followed now
            yield begin
            try:
                async for entries in pages:
                    yield b"".join(entry.data for entry in entries) or self.silence
            except FlowqError as error:
                yield self.failure(error)


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    message: Message = {"type": "http.response.body", "body": body, "more_body": more}
    async with asyncio.timeout(_PATIENCE):
        await send(message)
