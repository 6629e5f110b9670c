"""Text as it comes, for those who watch a run.

It goes to the stream of the attempt that runs, `step.context().stream`, whose events everybody can
follow. Outside any run there is nobody to tell.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowq.engine.runtime.context import current_or_none


@contextmanager
def open_stream() -> Iterator[Callable[[str], object]]:
    """Yield a function that tells the next piece of a text; an error in the block ends it early."""
    stream = getattr(current_or_none(), "stream", None)
    if stream is None:
        yield lambda _: None
        return
    with stream.open() as out:
        yield out.write
