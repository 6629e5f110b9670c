"""Joins the caller's transaction: their SQLAlchemy session, on flowq's database.

Rows are written through the session and are committed, or not, with everything else in it.
Callbacks wait for the end of its outermost transaction. They read the rows to see whether these
were committed, since a savepoint within it may have been rolled back.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import SQLAlchemyError, UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from typing_extensions import override

from flowq.adapters.records.connections.identity import DatabaseIdentity, identity_of, shown
from flowq.adapters.records.sql.repository import RUNS
from flowq.adapters.records.sql.tables import FlowRun
from flowq.core.errors import InvalidInput
from flowq.engine.ports.records import EnlistedTransaction

T = TypeVar("T")
_WAITING: Final = "flowq.after_transaction"


def caller_session(given: object, url: URL) -> Session:
    """Return the session of the caller, if it is one on a database of flowq's kind.

    Args:
        given: The value to check.
        url: The database of flowq.

    Raises:
        InvalidInput: it is no session, has no database, or one of another kind.
    """
    if hasattr(given, "sync_session"):
        raise InvalidInput(
            "session is an AsyncSession, which synchronous code cannot use",
            hint="await session.run_sync(lambda sync: flow.enqueue(…, session=sync))",
        )
    session = given() if isinstance(given, scoped_session) else given
    if not isinstance(session, Session):
        raise InvalidInput(
            f"session is {type(given).__name__}, not an SQLAlchemy Session",
            # A connection has an event before its commit, but none after it.
            hint="with Session(bind=connection) as session: flow.enqueue(…, session=session)"
            if isinstance(given, Connection)
            else "with Session(engine) as session: flow.enqueue(…, session=session)",
        )
    try:
        bound = session.get_bind(FlowRun).engine.url
    except UnboundExecutionError as error:
        raise InvalidInput(
            "the session is not bound to a database", hint="make it with Session(engine)"
        ) from error
    if bound.get_backend_name() != url.get_backend_name():
        raise _elsewhere(bound, url)
    return session


def check_connection(
    session: Session, url: URL, home: Callable[[DatabaseIdentity], DatabaseIdentity]
) -> None:
    """Refuse a session whose connection cannot commit the caller's rows and flowq's together.

    Args:
        session: The caller's session; it takes its connection now.
        url: The database of flowq.
        home: From an identity to that of flowq's own tables, to be compared with it.

    Raises:
        InvalidInput: the connection is in autocommit, or writes elsewhere.
        SQLAlchemyError: the database cannot be asked, or the session is broken.
    """
    connection = session.connection(bind_arguments={"clause": RUNS})
    if _is_autocommit(connection):
        raise InvalidInput(
            "the session's connection is in AUTOCOMMIT: a rollback could not undo the run",
            hint="give a session of an engine without isolation_level='AUTOCOMMIT', "
            "or leave session out",
        )
    theirs = identity_of(connection, connection.dialect.name)
    ours = home(theirs)
    if theirs.database != ours.database:
        raise _elsewhere(connection.engine.url, url)
    if theirs.schema != ours.schema:
        found = f"in the schema {theirs.schema}" if theirs.schema else "nowhere"
        raise InvalidInput(
            f"the session finds flowq's tables {found}, flowq in the schema {ours.schema}",
            hint="give the session and FLOWQ_DATABASE_URL the same search_path",
        )


def _elsewhere(bound: URL, url: URL) -> InvalidInput:
    return InvalidInput(
        f"the session is on the database {shown(bound)}, flowq on {shown(url)}: they are "
        "different databases, and one transaction cannot span both",
        hint="point FLOWQ_DATABASE_URL at the database of the session",
    )


def _is_autocommit(connection: Connection) -> bool:
    dbapi: Any = connection.connection.dbapi_connection
    if connection.dialect.name != "sqlite":
        return connection.dialect.detect_autocommit_setting(dbapi)
    # An engine may emit BEGIN in an event, as SQLAlchemy advises for savepoints.
    driver: Any = connection.connection.driver_connection
    leaves_it = driver.isolation_level is None or getattr(driver, "autocommit", None) is True
    return leaves_it and not driver.in_transaction


class SqlEnlistedTransaction(EnlistedTransaction):
    """Implements `flowq.engine.ports.EnlistedTransaction`.

    Args:
        transaction: The argument of `work`.
        translated: Translates SQLAlchemy's errors.
    """

    def __init__(
        self, session: Session, transaction: Any, translated: Callable[[SQLAlchemyError], Exception]
    ) -> None:
        self._session = session
        self._transaction = transaction
        self._translated = translated

    @override
    def work(self, work: Callable[[Any], T]) -> T:
        # The caller's pending rows are flushed first; their errors are the caller's.
        self._session.flush()
        try:
            return work(self._transaction)
        except SQLAlchemyError as error:
            raise self._translated(error) from error

    @override
    def after_transaction(self, then: Callable[[], None]) -> None:
        """Call `then` once, when the outermost transaction has ended."""
        if _WAITING not in self._session.info:
            self._session.info[_WAITING] = []
            event.listen(self._session, "after_transaction_end", _ended)
        self._session.info[_WAITING].append(then)


def _ended(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    waiting, session.info[_WAITING] = session.info[_WAITING], []
    for then in waiting:
        then()
