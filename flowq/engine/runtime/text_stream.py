"""Text that a step streams while it runs: `step.context().stream`.

    with step.context().stream.open() as out:
        async for piece in model:
            out.write(piece)

It works the same in sync and async steps: writing appends in memory and never blocks. The pieces
are sent in groups, a few times a second, so write each token as it comes. The text is for live
readers; it is not recorded, and the result of the step is what it returns.
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
        """Open a stream; an attempt may have several, also at the same time.

        Args:
            content_type: Media type of the text.
        """
        number = self._opened
        self._opened += 1
        return TextStream(self._put, number, content_type)


class TextStream:
    """A streamed text; as a context manager it closes itself."""

    __slots__ = ("_closed", "_length", "_number", "_put")

    def __init__(self, put: Put, number: int, content_type: str) -> None:
        self._put = put
        self._number = number
        self._length = 0
        self._closed = False
        put(StreamStarted, stream=number, content_type=content_type)

    def write(self, text: str) -> None:
        """Stream a piece of the text.

        Raises:
            ValueError: the stream is closed.
        """
        if self._closed:
            raise ValueError("this stream is closed")
        # A lone surrogate cannot be encoded; its replacement has the same length.
        text = text.encode(errors="replace").decode() if not text.isascii() else text
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE]
            self._put(StreamChunk, stream=self._number, offset=self._length, text=piece)
            self._length += len(piece)

    def close(self, error: BaseException | None = None) -> None:
        """End the stream; does nothing if it is closed.

        Args:
            error: The error that ended it early.
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
