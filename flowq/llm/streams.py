"""Streams the text of a model while it is generated.

The text goes to the stream of the running attempt, `step.context().stream`, as events that readers
follow. Outside any run it is dropped.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowq.engine.runtime.context import current_or_none


@contextmanager
def open_stream() -> Iterator[Callable[[str], object]]:
    """Yield a function that emits a piece of text; an error in the block ends the stream early."""
    stream = getattr(current_or_none(), "stream", None)
    if stream is None:
        yield lambda _: None
        return
    with stream.open() as out:
        yield out.write
