"""The database behind the `Records` port: PostgreSQL (psycopg) or SQLite (WAL), through SQLAlchemy.

`write` is a transaction; `single` is for one statement or for reads and runs in autocommit, which
spares the round trips of BEGIN and COMMIT. A transaction that the database itself broke before the
commit (a deadlock, a connection that died in the pool) is run again; one that failed in the commit
is not, because it may have happened; nor is a `single` that says `once`. A connection that does not
answer at all is given up (see `watchdog`). Whatever the driver raises leaves here as one of flowq's
errors, without a password.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from flowq.adapters.records.connecting import open_engine, tune_postgres
from flowq.adapters.records.forks import ForkGuard
from flowq.adapters.records.joined import CallersTransaction, caller_session, check_connection
from flowq.adapters.records.places import Place, place_of, shown
from flowq.adapters.records.revisions import VERSION, check_revision
from flowq.adapters.records.transaction import SqlTransaction
from flowq.adapters.records.watchdog import Watchdog
from flowq.core.errors import DatabaseNotMigrated, DatabaseUnavailable
from flowq.core.ids import StepRunId
from flowq.core.states import StepState
from flowq.engine.rows import Claim, Outcome, Together

T = TypeVar("T")
_forks = ForkGuard()
_TRIES = 5


class SqlRecords:
    """Implements `flowq.engine.ports.Records`. Connects at first use.

    Args:
        url: SQLAlchemy URL, `postgresql+psycopg://…` or `sqlite:///path`.
        pool_size: Connections at most; callers wait for a free one.
        timeout: Seconds after which a statement or transaction is given up; not on SQLite.
    """

    def __init__(self, url: str, *, pool_size: int = 10, timeout: float = 60.0) -> None:
        self.engine = open_engine(url, pool_size=pool_size, autocommit=True)
        self.url = self.engine.url
        self._checked = False
        self._place: Place | None = None
        is_sqlite = self.engine.dialect.name == "sqlite"
        self._begin = "BEGIN IMMEDIATE" if is_sqlite else "BEGIN"
        self._in_one_process = _forks.use if is_sqlite else nullcontext
        self._watch = _unwatched if is_sqlite else Watchdog(timeout).watch
        if is_sqlite:
            _forks.close_before(self.engine)
        else:
            event.listen(self.engine, "connect", partial(tune_postgres, timeout))

    def write(self, work: Callable[[SqlTransaction], T]) -> T:
        """Run `work` in one transaction and commit; again from its start after a deadlock."""
        for tries_left in reversed(range(_TRIES)):
            try:
                with self._in_one_process(), self._connected() as connection:
                    try:
                        connection.exec_driver_sql(self._begin)
                        value = work(SqlTransaction(connection))
                    except BaseException as error:
                        self._roll_back(connection)
                        if isinstance(error, DBAPIError) and tries_left and _passes(error):
                            continue
                        raise
                    connection.exec_driver_sql("COMMIT")
                    return value
            except SQLAlchemyError as error:
                raise self._translated(error) from error
        raise AssertionError("unreachable")

    def single(self, work: Callable[[SqlTransaction], T], *, once: bool = False) -> T:
        """Run one statement, or reads, without the round trips of a transaction."""
        for tries_left in reversed(range(_TRIES)):
            try:
                with self._in_one_process(), self._connected() as connection:
                    return work(SqlTransaction(connection))
            except DBAPIError as error:
                passes = _undone(error) if once else _passes(error)
                if not (tries_left and passes):
                    raise self._translated(error) from error
            except SQLAlchemyError as error:
                raise self._translated(error) from error
        raise AssertionError("unreachable")

    def complete_and_release(
        self,
        claim: Claim,
        outcome: Outcome,
        dependents: Sequence[str],
        together: Together | None = None,
    ) -> dict[str, tuple[int, StepState]] | None:
        """Complete a step and count its dependents down by one, in the cheapest safe way."""

        def work(tx: SqlTransaction) -> dict[str, tuple[int, StepState]] | None:
            return tx.steps.complete_and_release(claim, outcome, dependents, together)

        # One statement on PostgreSQL, several on SQLite.
        if self.engine.dialect.name == "sqlite":
            return self.write(work)
        return self.single(work, once=True)

    def complete_and_wake(
        self, claim: Claim, outcome: Outcome, program: StepRunId, resend_after: timedelta
    ) -> bool | None:
        """Complete a call and queue its program, in the cheapest safe way."""

        def work(tx: SqlTransaction) -> bool | None:
            return tx.steps.complete_and_wake(claim, outcome, program, resend_after)

        if self.engine.dialect.name == "sqlite":
            return self.write(work)
        return self.single(work, once=True)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Give a connection; the first one looks whether the tables are those of this code."""
        with self.engine.connect() as connection, self._watch(connection):
            if not self._checked:
                check_revision(connection.execute(VERSION).scalar(), self._where)
                self._checked = True
            yield connection

    def _roll_back(self, connection: Connection) -> None:
        """Undo, or throw the connection away: it must not go back to the pool in a transaction."""
        try:
            connection.exec_driver_sql("ROLLBACK")
        except SQLAlchemyError:
            connection.invalidate()

    def joined(self, session: object) -> CallersTransaction:
        """Take part in the transaction of the caller's session; the caller commits.

        Raises:
            InvalidInput: that is no session, or one on another database or in autocommit.
        """
        own = caller_session(session, self.url)
        try:
            check_connection(own, self.url, self._place_beside)
        except DBAPIError as error:
            raise self._translated(error) from error
        return CallersTransaction(own, SqlTransaction(own), self._translated)

    def _place_beside(self, other: Place) -> Place:
        """Return the own place; asked anew when it differs, as a server may have been restarted."""
        if self._place is None or self._place != other:
            dialect = self.engine.dialect.name
            self._place = self.single(lambda tx: place_of(tx.within, dialect))
        return self._place

    def within(self, session: Session) -> SqlTransaction:
        """Use the caller's own session; the caller commits."""
        return SqlTransaction(session)

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    @property
    def _where(self) -> str:
        return shown(self.url)

    def _translated(self, error: SQLAlchemyError) -> Exception:
        where = self._where
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()
        text = cause[0] if cause else type(error).__name__
        if (
            "no such table" in text
            or "UndefinedTable" in type(getattr(error, "orig", None)).__name__
        ):
            return DatabaseNotMigrated(
                f"the database {where} has no flowq tables", hint="run: flowq db upgrade"
            )
        if (
            "no such column" in text
            or "UndefinedColumn" in type(getattr(error, "orig", None)).__name__
        ):
            return DatabaseNotMigrated(
                f"the tables in {where} are older than this flowq", hint="run: flowq db upgrade"
            )
        if isinstance(error, DBAPIError) and not _unreachable(error):
            return error
        return DatabaseUnavailable(
            f"the database {where} cannot be used: {text}",
            hint="check FLOWQ_DATABASE_URL and that the server runs; then: flowq doctor",
        )


def _unwatched(_connection: Connection) -> AbstractContextManager[None]:
    return nullcontext()


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _passes(error: DBAPIError) -> bool:
    """Tell whether the same may succeed at once: after a deadlock, or on another connection.

    A dead connection of the pool and one that died before the answer came look the same. Within a
    transaction both mean that nothing was committed; a single statement may have happened.
    """
    lost = error.connection_invalidated and _sqlstate(error) in {"", "57P01"}
    return lost or _undone(error)


def _undone(error: DBAPIError) -> bool:
    """Tell whether the database undid the statement for reasons that will pass."""
    return _sqlstate(error) in {"40P01", "40001"}


def _unreachable(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    state = _sqlstate(error)
    name = type(error.orig).__name__
    # Class 08 is connection, 28 authorisation, 3D no such database, 53 resources, 57 shutdown.
    return state[:2] in {"08", "28", "3D", "53", "57"} or (not state and name == "OperationalError")
