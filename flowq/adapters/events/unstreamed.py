"""Events where there is no Redis: none is streamed, and readers find them in the rows.

A reader that follows a run reads its rows periodically, as during an outage of Redis (see
`engine.events.follow`), and so gets every event that can be made from rows. Text that steps stream
is in no row: its pieces are lost.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from typing_extensions import override

from flowq.core.errors import RedisUnavailable
from flowq.core.events import Event
from flowq.core.ids import RunId
from flowq.engine.ports import Events, StreamPage

#: Seconds between two looks at a run that somebody waits for: the first, and at most.
_FIRST_LOOK: Final = 0.05
_LAST_LOOK: Final = 0.5


class UnstreamedEvents(Events):
    """Implements `flowq.engine.ports.Events` without a stream."""

    @override
    def now(self) -> datetime:
        return datetime.now(UTC)

    @override
    def publish(self, kind: type[Event], run_id: RunId, **fields: Any) -> None:
        """Drop an event: the rows have what happened."""

    @override
    def flush(self) -> None:
        """Do nothing: nothing waits."""

    @override
    def read(self, run_id: RunId, after: str | None = None, wait: float = 0) -> StreamPage:
        """Say that there is no stream, so that the rows are read.

        Raises:
            RedisUnavailable: always.
        """
        raise RedisUnavailable(
            "events are not streamed without a Redis", hint="set FLOWQ_REDIS_URL to stream them"
        )

    @contextmanager
    @override
    def listening(self, run_id: RunId) -> Iterator[Callable[[float], None]]:
        pause = _FIRST_LOOK

        def wait(seconds: float) -> None:
            nonlocal pause
            time.sleep(min(seconds, pause))
            pause = min(2 * pause, _LAST_LOOK)

        yield wait
