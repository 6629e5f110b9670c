"""The database of the simulation: SQLite in memory, with a clock that the simulation moves.

The engine's own SQL runs on it unchanged. The clock is the database's own `strftime` and
`julianday`, replaced by functions that read `Clock`. Triggers write down each change of a state,
within the transaction that makes it, so a change that is rolled back leaves no trace.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.migrations import migrate
from flowq.adapters.records.sql.repository import Repository
from flowq.adapters.records.sql.tables import Base
from flowq.core.states import TERMINAL_STEP_STATES

_START: Final = datetime(2030, 1, 1, tzinfo=UTC)
_JULIAN_START: Final = 2462502.5
_TEXT: Final = "%Y-%m-%d %H:%M:%S.%f"
_TERMINAL: Final = ", ".join(f"'{state}'" for state in sorted(TERMINAL_STEP_STATES))
#: What no longer changes in a row that has ended.
_RECORD: Final = ("status", "result", "outputs", "error_message", "attempt", "recoveries")
_WATCH: Final = f"""
CREATE TEMP TABLE changes (
    kind TEXT, id TEXT, run TEXT, key TEXT, map_index INTEGER, before TEXT, after TEXT,
    attempt INTEGER
);
CREATE TEMP TABLE edges (run TEXT, key TEXT, dependency TEXT, PRIMARY KEY (run, key, dependency));
CREATE TEMP TRIGGER step_begins AFTER INSERT ON flow_step_runs BEGIN
    INSERT INTO changes VALUES
    ('step', NEW.id, NEW.flow_run_id, NEW.step_key, NEW.map_index, NULL, NEW.status, 0);
END;
CREATE TEMP TRIGGER step_moves AFTER UPDATE OF status ON flow_step_runs
WHEN OLD.status <> NEW.status BEGIN
    INSERT INTO changes VALUES
    ('step', NEW.id, NEW.flow_run_id, NEW.step_key, NEW.map_index, OLD.status, NEW.status,
    NEW.attempt);
END;
CREATE TEMP TRIGGER paused_step_begins BEFORE UPDATE OF status ON flow_step_runs
WHEN OLD.lease_token IS NULL AND NEW.lease_token IS NOT NULL
AND (SELECT status FROM flow_runs WHERE id = NEW.flow_run_id) = 'paused' BEGIN
    SELECT RAISE(ABORT, 'a step of a paused run begins');
END;
CREATE TEMP TRIGGER record_changes AFTER UPDATE ON flow_step_runs
WHEN OLD.status IN ({_TERMINAL})
AND ({", ".join(f"OLD.{name}" for name in _RECORD)})
IS NOT ({", ".join(f"NEW.{name}" for name in _RECORD)}) BEGIN
    INSERT INTO changes VALUES
    ('record', NEW.id, NEW.flow_run_id, NEW.step_key, NEW.map_index, OLD.status, NEW.status,
    NEW.attempt);
END;
CREATE TEMP TABLE begun (run TEXT, paused INTEGER);
CREATE TEMP TRIGGER child_begins AFTER INSERT ON flow_runs
WHEN NEW.parent_step_run_id IS NOT NULL BEGIN
    INSERT INTO begun SELECT NEW.id, r.status = 'paused' FROM flow_runs r
    JOIN flow_step_runs s ON s.flow_run_id = r.id WHERE s.id = NEW.parent_step_run_id;
END;
CREATE TEMP TRIGGER run_begins AFTER INSERT ON flow_runs BEGIN
    INSERT INTO changes VALUES
    ('run', NEW.id, NEW.id, NEW.parent_step_run_id, NULL, NULL, NEW.status, 0);
END;
CREATE TEMP TRIGGER run_moves AFTER UPDATE OF status ON flow_runs
WHEN OLD.status <> NEW.status BEGIN
    INSERT INTO changes VALUES ('run', NEW.id, NEW.id, NULL, NULL, OLD.status, NEW.status, 0);
END;
"""


@dataclass
class Clock:
    """Seconds since the simulation began."""

    seconds: float = 0.0

    def text(self, offset: float) -> str:
        """Return a moment as SQLite writes it, to the millisecond."""
        moment = _START + timedelta(seconds=self.seconds + offset)
        return moment.strftime(_TEXT)[:-3]


def seconds_of(text: str) -> float:
    """Return the seconds of a time in a row."""
    moment = datetime.strptime(text, _TEXT).replace(tzinfo=UTC)
    return (moment - _START).total_seconds()


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was inserted, or whose state has changed."""

    kind: str  #: `step` or `run`; `record` when a row changed that had ended.
    id: str
    run: str
    key: str | None  #: Of a step; of a run, the step that waits for it.
    map_index: int | None
    before: str | None
    after: str
    attempt: int


class Database:
    """A migrated database in memory; `reset` makes it as new."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.records = SqlRecords("sqlite://")
        self.connection: sqlite3.Connection = None  # type: ignore[assignment]  # by `_prepare`
        self._first_rows: dict[str, list[tuple[Any, ...]]] = {}  #: By table, as migrated.
        event.listen(self.records.engine, "connect", self._prepare)
        self.records.engine.connect().close()

    def _prepare(self, connection: Any, _record: Any) -> None:
        raw: sqlite3.Connection = connection
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "template.db"
            migrate.upgrade(f"sqlite:///{file}")
            template = sqlite3.connect(file)
            template.backup(raw)
            template.close()
        raw.create_function("strftime", 3, self._strftime)
        raw.create_function("julianday", 1, self._julianday)
        raw.executescript(_WATCH)
        self.connection = raw
        ours = [table.name for table in Base.metadata.sorted_tables]
        self._first_rows = {name: self.query(f"SELECT * FROM {name}") for name in ours}

    def _strftime(self, _form: str, since: str, offset: str | None) -> str | None:
        assert since == "now", since
        if offset is None:
            return None
        return self.clock.text(float(offset.removesuffix(" seconds")))

    def _julianday(self, when: str | None) -> float | None:
        if when is None:
            return None
        seconds = self.clock.seconds if when == "now" else seconds_of(when)
        return _JULIAN_START + seconds / 86400

    def reset(self) -> None:
        """Forget all runs, and begin at the first second again."""
        self.clock.seconds = 0.0
        for table in ("changes", "edges", "begun", *reversed(self._first_rows)):
            self.connection.execute(f"DELETE FROM {table}")
        for table, rows in self._first_rows.items():
            if rows:
                places = ", ".join("?" * len(rows[0]))
                self.connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)

    @property
    def version(self) -> int:
        """A number that grows with each row that is written."""
        return self.connection.total_changes

    def query(self, sql: str, *given: Any) -> list[tuple[Any, ...]]:
        """Read rows without the engine."""
        return self.connection.execute(sql, given).fetchall()

    def changes(self) -> list[Change]:
        """Take the changes since the last call."""
        found = [Change(*row) for row in self.query("SELECT * FROM changes ORDER BY rowid")]
        if found:
            self.connection.execute("DELETE FROM changes")
        return found

    def close(self) -> None:
        """Close the connection."""
        self.records.close()


@contextmanager
def each_statement(before: Callable[[], None]) -> Iterator[None]:
    """Call `before` ahead of each statement of the repositories, in this block."""
    run = Repository._run

    def called(repository: Repository, *args: Any) -> Any:
        before()
        return run(repository, *args)

    Repository._run = called  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        Repository._run = run  # type: ignore[method-assign]


@contextmanager
def each_sql(database: Database, before: Callable[[str], None]) -> Iterator[None]:
    """Call `before` with the text of each statement that goes to the database, in this block."""

    def called(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        before(statement)

    event.listen(database.records.engine, "before_cursor_execute", called)
    try:
        yield
    finally:
        event.remove(database.records.engine, "before_cursor_execute", called)


def writes(statement: str) -> bool:
    """Return whether a statement changes rows."""
    return statement.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))


class Through:
    """Stands before a port: calls `before` and `after` around each of its methods."""

    def __init__(
        self, port: Any, before: Callable[[str], None], after: Callable[[str], None]
    ) -> None:
        self._port = port
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*args: Any, **options: Any) -> Any:
            self._before(name)
            value = method(*args, **options)
            self._after(name)
            return value

        self.__dict__[name] = call
        return call
