"""The database: transactions and single statements."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from flowq.engine.ports.actions import ActionRows
from flowq.engine.ports.cached import CachedResults
from flowq.engine.ports.documents import Documents
from flowq.engine.ports.invariants import Invariants
from flowq.engine.ports.limits.meters import Meters
from flowq.engine.ports.limits.shares import Shares
from flowq.engine.ports.limits.slots import Limits
from flowq.engine.ports.limits.token_rates import TokenRates
from flowq.engine.ports.llm_requests import LlmRequests
from flowq.engine.ports.logs import Logs
from flowq.engine.ports.reruns import Reruns
from flowq.engine.ports.runs import RunRows
from flowq.engine.ports.schedules import RequestedRuns, Schedules
from flowq.engine.ports.signals import SignalRows
from flowq.engine.ports.steps import StepRows
from flowq.engine.ports.sweeps import Sweeps

if TYPE_CHECKING:  # used by pages, not by workers
    from flowq.engine.queries.port import Overview

T = TypeVar("T")


class Transaction(Protocol):
    """Rows within one database transaction."""

    @property
    def runs(self) -> RunRows:
        """The runs."""

    @property
    def reruns(self) -> Reruns:
        """The reruns of runs."""

    @property
    def steps(self) -> StepRows:
        """The step runs."""

    @property
    def signals(self) -> SignalRows:
        """The signals."""

    @property
    def actions(self) -> ActionRows:
        """What people did to runs."""

    @property
    def llm_requests(self) -> LlmRequests:
        """The calls of models."""

    @property
    def sweeps(self) -> Sweeps:
        """The sweeper's queries."""

    @property
    def cached(self) -> CachedResults:
        """Cached results."""

    @property
    def meters(self) -> Meters:
        """What was spent."""

    @property
    def limits(self) -> Limits:
        """The slots of limits."""

    @property
    def shares(self) -> Shares:
        """The lines of shares."""

    @property
    def token_rates(self) -> TokenRates:
        """The usage of rates of tokens."""

    @property
    def documents(self) -> Documents:
        """The stored documents."""

    @property
    def logs(self) -> Logs:
        """What steps have logged."""

    @property
    def schedules(self) -> Schedules:
        """The schedules."""

    @property
    def requested(self) -> RequestedRuns:
        """The recorded flows, and the requests of runs of them."""

    @property
    def invariants(self) -> Invariants:
        """The checks of the invariants."""

    @property
    def overview(self) -> "Overview":
        """The queries of pages."""


class Records(Protocol):
    """The database.

    Its methods raise `DatabaseUnavailable`, `DatabaseNotMigrated` or `DatabaseTooNew`.
    """

    def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit; it is repeated after a deadlock."""

    def autocommit(self, work: Callable[[Transaction], T], *, idempotent: bool = True) -> T:
        """Run one statement, or reads, without the round trips of a transaction.

        Args:
            work: What to run. After a lost connection it is run again.
            idempotent: False: it is not run again then, since it may be done already.
        """

    def atomic(self, work: Callable[[Transaction], T]) -> T:
        """Run a write in one statement where the database allows that, else in a transaction.

        Args:
            work: One call of a method that says so, e.g. `steps.complete_and_release`. It is not
                run again after a lost connection, since it may be done already.
        """

    def enlist(self, session: object) -> "EnlistedTransaction":
        """Join the caller's transaction.

        Raises:
            InvalidInput: it is no session, or one on another database or in autocommit.
        """


class EnlistedTransaction(Protocol):
    """A transaction of the caller's."""

    def work(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` within it; raises as `Records.transaction`."""

    def after_transaction(self, then: Callable[[], None]) -> None:
        """Call `then` once, when the outermost transaction was committed or rolled back."""
