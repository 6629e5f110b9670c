"""Text that a step puts out while it runs: `step.context().stream`.

    with step.context().stream.open() as out:
        async for piece in model:
            out.write(piece)

Works the same in sync and async steps: writing is an append in memory and never waits. The pieces
leave in bundles, a few times a second, so write each token as it comes. What is written is for
those who look on; it is not recorded, and what the step returns is its result.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from flowq.core.events import StreamChunk, StreamEnded, StreamEvent, StreamStarted

#: Characters of one event.
_PIECE = 16_384

#: Publishes an event of a stream: its class and its own fields.
Put = Callable[..., None]


def _nowhere(_kind: type[StreamEvent], **_fields: Any) -> None:
    """Publish nothing."""


class Streams:
    """Opens the streams of one attempt."""

    __slots__ = ("_opened", "_put")

    def __init__(self, put: Put = _nowhere) -> None:
        self._put = put
        self._opened = 0

    def open(self, content_type: str = "text/plain") -> "TextStream":
        """Begin a stream; an attempt may have several, also at the same time.

        Args:
            content_type: Media type of the text.
        """
        number = self._opened
        self._opened += 1
        return TextStream(self._put, number, content_type)


class TextStream:
    """A text that comes in pieces; a context manager, which closes it."""

    __slots__ = ("_closed", "_length", "_number", "_put")

    def __init__(self, put: Put, number: int, content_type: str) -> None:
        self._put = put
        self._number = number
        self._length = 0
        self._closed = False
        put(StreamStarted, stream=number, content_type=content_type)

    def write(self, text: str) -> None:
        """Put out a piece of the text.

        Raises:
            ValueError: the stream is closed.
        """
        if self._closed:
            raise ValueError("this stream is closed")
        # Half of a surrogate pair cannot leave this process; it is as long as what stands for it.
        text = text.encode(errors="replace").decode() if not text.isascii() else text
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE]
            self._put(StreamChunk, stream=self._number, offset=self._length, text=piece)
            self._length += len(piece)

    def close(self, error: BaseException | None = None) -> None:
        """End the stream; once it is closed nothing happens.

        Args:
            error: What has ended it before its time.
        """
        if self._closed:
            return
        self._closed = True
        kind = None if error is None else type(error).__qualname__
        self._put(StreamEnded, stream=self._number, length=self._length, error_type=kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(error)
