"""The database behind the `Records` port: PostgreSQL (psycopg) or SQLite (WAL), by SQLAlchemy.

`transaction` begins and commits one; `autocommit` is for one statement or for reads, and saves the
round trips of BEGIN and COMMIT; `atomic` is the first on SQLite and the second on PostgreSQL. A
transaction that failed before the commit (a deadlock, a dead connection of the pool) is repeated.
One that failed in the commit is not, because it may be committed; nor is an `autocommit` that is
not idempotent. A connection that does not answer is given up (see `watchdog`). All errors of the
driver are translated to flowq's errors, without a password.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session
from typing_extensions import override

from flowq.adapters.records.connections.engine import open_engine, session_of
from flowq.adapters.records.connections.error_kinds import (
    ErrorKind,
    is_transient,
    kind_of,
    translated,
)
from flowq.adapters.records.connections.external import (
    SqlEnlistedTransaction,
    caller_session,
    check_connection,
)
from flowq.adapters.records.connections.fork_guard import ForkGuard
from flowq.adapters.records.connections.identity import DatabaseIdentity, identity_of
from flowq.adapters.records.connections.kept import KeptConnections
from flowq.adapters.records.connections.watchdog import Watchdog
from flowq.adapters.records.migrations.revisions import check_on
from flowq.adapters.records.transaction import SqlTransaction
from flowq.engine.ports import Records

T = TypeVar("T")
_forks = ForkGuard()
_TRIES = 5
_COMMIT = "COMMIT"


class SqlRecords(Records):
    """Implements `flowq.engine.ports.Records`. Connects at first use.

    Args:
        url: SQLAlchemy URL, `postgresql+psycopg://…` or `sqlite:///path`.
        pool_size: Maximum connections; callers wait for a free one.
        timeout: Seconds after which a statement or transaction is given up; not on SQLite.
    """

    def __init__(self, url: str, *, pool_size: int = 10, timeout: float = 60.0) -> None:
        # Twice the client's limit: a live client gives up first, with the reason.
        self.engine = open_engine(url, pool_size=pool_size, autocommit=True, limit=2 * timeout)
        self._connections = KeptConnections(self.engine)
        self.url = self.engine.url
        self._checked = False
        self._place: DatabaseIdentity | None = None
        is_sqlite = self.engine.dialect.name == "sqlite"
        self._in_one_process = _forks.use if is_sqlite else nullcontext
        self._watch = _unwatched if is_sqlite else Watchdog(timeout).watch
        if is_sqlite:
            _forks.close_before(self.engine)

    @override
    def transaction(self, work: Callable[[SqlTransaction], T]) -> T:
        return self._tried(lambda connection: self._transaction(connection, work), idempotent=True)

    @override
    def autocommit(self, work: Callable[[SqlTransaction], T], *, idempotent: bool = True) -> T:
        return self._tried(
            lambda connection: self._settled(connection, work), idempotent=idempotent
        )

    def _tried(self, run: Callable[[Connection], T], *, idempotent: bool) -> T:
        """Use a connection, and another one if that one was dead."""
        for tries_left in reversed(range(_TRIES)):
            try:
                with self._in_one_process(), self._connected() as connection:
                    return run(connection)
            except DBAPIError as error:
                # A transaction that failed in its commit may be committed.
                safe = idempotent and error.statement != _COMMIT
                if not (tries_left and is_transient(error, idempotent=safe)):
                    raise self._translated(error) from error
            except SQLAlchemyError as error:
                raise self._translated(error) from error
        raise AssertionError("unreachable")

    def _settled(self, connection: Connection, work: Callable[[SqlTransaction], T]) -> T:
        """Run one statement, or reads, with the settings that flowq needs."""
        if session_of(connection).alone:
            return work(SqlTransaction(connection))
        return self._transaction(connection, work)

    def _transaction(self, connection: Connection, work: Callable[[SqlTransaction], T]) -> T:
        try:
            for statement in session_of(connection).begin:
                connection.exec_driver_sql(statement)
            value = work(SqlTransaction(connection))
        except BaseException:
            self._roll_back(connection)
            raise
        connection.exec_driver_sql(_COMMIT)
        return value

    @override
    def atomic(self, work: Callable[[SqlTransaction], T]) -> T:
        """Run one statement on PostgreSQL; on SQLite several, in one transaction."""
        if self.engine.dialect.name == "sqlite":
            return self.transaction(work)
        return self.autocommit(work, idempotent=False)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Yield a connection; the first one checks the revision of the tables."""
        with self._connections.use() as connection, self._watch(connection):
            try:
                if not self._checked:
                    self._settled(connection, lambda _: check_on(connection))
                    self._checked = True
                yield connection
            except DBAPIError as error:
                self._drop(connection, kind_of(error))
                raise

    def _drop(self, connection: Connection, found: ErrorKind) -> None:
        """Drop connections from the pool that would fail again."""
        if found in (ErrorKind.GONE, ErrorKind.REPLACED) and not connection.invalidated:
            connection.invalidate()
        if found is ErrorKind.REPLACED:
            self.engine.dispose()  # they all lead to the server that refuses writes

    def _roll_back(self, connection: Connection) -> None:
        """Roll back, or discard the connection: it must not return to the pool in a transaction."""
        try:
            connection.exec_driver_sql("ROLLBACK")
        except SQLAlchemyError:
            connection.invalidate()

    @override
    def enlist(self, session: object) -> SqlEnlistedTransaction:
        own = caller_session(session, self.url)
        try:
            check_connection(own, self.url, self._place_beside)
        except DBAPIError as error:
            raise self._translated(error) from error
        return SqlEnlistedTransaction(own, SqlTransaction(own), self._translated)

    def _place_beside(self, other: DatabaseIdentity) -> DatabaseIdentity:
        """Return the identity of flowq's database; read again when it differs, after a restart."""
        if self._place is None or self._place != other:
            dialect = self.engine.dialect.name
            self._place = self.autocommit(lambda tx: identity_of(tx.within, dialect))
        return self._place

    def within(self, session: Session) -> SqlTransaction:
        """Use the caller's own session; the caller commits."""
        return SqlTransaction(session)

    def close(self) -> None:
        """Close the pooled connections."""
        self._connections.close()
        self.engine.dispose()

    def _translated(self, error: SQLAlchemyError) -> Exception:
        return translated(error, self.url)


def _unwatched(_connection: Connection) -> AbstractContextManager[None]:
    return nullcontext()
