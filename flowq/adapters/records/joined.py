"""Taking part in a transaction of the caller's: their SQLAlchemy session, on flowq's database.

Rows are written through the session and become true, or not, with everything else it does. What is
to follow waits for the end of its outermost transaction; whether that was a commit is not asked
here, since a savepoint within it may have been rolled back: the rows will tell.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, event
from sqlalchemy.exc import SQLAlchemyError, UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from flowq.adapters.records.models import FlowRun
from flowq.core.errors import InvalidInput

T = TypeVar("T")
_WAITING: Final = "flowq.when_ended"


def caller_session(given: object, url: URL) -> Session:
    """Return the session of the caller, if flowq can take part in its transaction.

    Args:
        given: What was given as one.
        url: The database of flowq.

    Raises:
        InvalidInput: it is no session, has no database, or another one.
    """
    if hasattr(given, "sync_session"):
        raise InvalidInput(
            "session is an AsyncSession, which flowq cannot await",
            hint="await session.run_sync(lambda sync: flow.enqueue(…, session=sync))",
        )
    session = given() if isinstance(given, scoped_session) else given
    if not isinstance(session, Session):
        raise InvalidInput(
            f"session is {type(given).__name__}, not an SQLAlchemy Session",
            hint="with Session(engine) as session: flow.enqueue(…, session=session)",
        )
    try:
        bound = session.get_bind(FlowRun).engine.url
    except UnboundExecutionError as error:
        raise InvalidInput(
            "the session is bound to no database", hint="make it with Session(engine)"
        ) from error
    if _identity(bound) != _identity(url):
        raise InvalidInput(
            f"the session is on the database {bound.render_as_string()}, "
            f"flowq on {url.render_as_string()}: one transaction cannot hold both",
            hint="point FLOWQ_DATABASE_URL at the database of the session",
        )
    return session


def _identity(url: URL) -> tuple[str, str | None]:
    """Return what tells databases apart; not the host, of which there may be several names."""
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database not in (None, "", ":memory:"):
        return backend, str(Path(str(url.database)).resolve())
    return backend, url.database


class CallersTransaction:
    """Implements `flowq.engine.ports.Joined`.

    Args:
        session: The caller's.
        transaction: What `work` is given.
        translated: Makes flowq's errors of SQLAlchemy's.
    """

    def __init__(
        self, session: Session, transaction: Any, translated: Callable[[SQLAlchemyError], Exception]
    ) -> None:
        self._session = session
        self._transaction = transaction
        self._translated = translated

    def work(self, work: Callable[[Any], T]) -> T:
        """Run `work` within it; the caller commits."""
        try:
            self._session.flush()  # what the caller has added comes first, as it was written first
            return work(self._transaction)
        except SQLAlchemyError as error:
            raise self._translated(error) from error

    def when_ended(self, then: Callable[[], None]) -> None:
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
