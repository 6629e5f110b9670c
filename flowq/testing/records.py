"""Records in memory, with a clock that the test controls.

The engine's own SQL runs on them unchanged: SQLite's functions of the time, `strftime` and
`julianday`, are replaced by functions that read a `VirtualClock`. The tables are made by the
migrations, and copied from a template of the process.
"""

import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import event

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.migrations import migrate

_TEXT: Final = "%Y-%m-%d %H:%M:%S.%f"
_UNIX_EPOCH: Final = 2440587.5  # as a Julian day
#: Whether a tick waits for an open run: the end of that is what matters, not the next look.
_IS_HELD: Final = (
    "((held_at IS NOT NULL OR (backfill_at IS NOT NULL AND overlap <> 'allow')) AND EXISTS "
    "(SELECT 1 FROM flow_runs AS r WHERE r.schedule_name = s.name AND r.completed_at IS NULL))"
)
#: The conditions of open rows that wait for a time.
_NEXT: Final = " UNION ALL ".join(
    (
        "SELECT min(wake_at) FROM flow_step_runs WHERE status IN ('waiting', 'retrying', 'queued')",
        "SELECT min(deadline) FROM flow_runs WHERE status IN ('running', 'paused')",
        "SELECT min(starts_at) FROM flow_runs WHERE status = 'pending'",
        "SELECT min(wake_at) FROM flow_schedules AS s WHERE NOT " + _IS_HELD,  # noqa: S608
        "SELECT min(next_at) FROM flow_schedules AS s "  # noqa: S608 - both are constants
        "WHERE held_at IS NULL AND " + _IS_HELD,
    )
)


class VirtualClock:
    """The time of one test.

    Args:
        now: The start; an aware datetime.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now.astimezone(UTC)

    def seconds(self) -> float:
        """Return the time in seconds."""
        return self.now.timestamp()

    def move(self, time: timedelta) -> None:
        """Advance the time."""
        self.now += max(time, timedelta(0))


class VirtualRecords(SqlRecords):
    """Migrated tables in memory, which are deleted with the last connection.

    Args:
        clock: Their clock.
    """

    def __init__(self, clock: VirtualClock) -> None:
        place = f"file:flowq-{uuid4().hex}?mode=memory&cache=shared&uri=true"
        super().__init__(f"sqlite:///{place}")
        self._clock = clock
        event.listen(self.engine, "connect", self._prepare)
        name = place.replace("&uri=true", "")
        self._anchor = sqlite3.connect(name, uri=True, check_same_thread=False)
        _template().backup(self._anchor)

    def next_due(self) -> datetime | None:
        """Return when the next row is due that has no message."""
        rows = self._anchor.execute(_NEXT).fetchall()
        times = [_moment(row[0]) for row in rows if row[0] is not None]
        return min(times, default=None)

    def close(self) -> None:
        """Delete everything."""
        super().close()
        self._anchor.close()

    def _prepare(self, connection: Any, _record: Any) -> None:
        connection.create_function("strftime", 3, self._strftime)
        connection.create_function("julianday", 1, self._julianday)

    def _strftime(self, _form: str, _since: str, offset: str | None) -> str | None:
        if offset is None:
            return None
        moment = self._clock.now + timedelta(seconds=float(offset.removesuffix(" seconds")))
        return moment.strftime(_TEXT)[:-3]

    def _julianday(self, when: str | None) -> float | None:
        if when is None:
            return None
        moment = self._clock.now if when == "now" else _moment(when)
        return _UNIX_EPOCH + moment.timestamp() / 86400


def _moment(text: str) -> datetime:
    return datetime.strptime(text, _TEXT).replace(tzinfo=UTC)


@cache
def _template() -> sqlite3.Connection:
    """Return migrated tables to copy; made once per process, because it is slow."""
    template = sqlite3.connect(":memory:", check_same_thread=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.db"
        migrate.upgrade(f"sqlite:///{file}")
        made = sqlite3.connect(file)
        made.backup(template)
        made.close()
    return template
