"""The database: transactions, and what is worth a statement of its own."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from flowq.engine.ports.cached import CachedResults
from flowq.engine.ports.invariants import Invariants
from flowq.engine.ports.limits import Limits
from flowq.engine.ports.llm_requests import LlmRequests
from flowq.engine.ports.meters import Meters
from flowq.engine.ports.runs import RunRows
from flowq.engine.ports.signals import SignalRows
from flowq.engine.ports.steps import StepRows
from flowq.engine.ports.sweeps import Sweeps
from flowq.engine.ports.token_rates import TokenRates

if TYPE_CHECKING:  # pages ask it, and no worker
    from flowq.engine.queries.port import Overview

T = TypeVar("T")


class Transaction(Protocol):
    """Rows within one database transaction."""

    @property
    def runs(self) -> RunRows:
        """The runs."""

    @property
    def steps(self) -> StepRows:
        """The step runs."""

    @property
    def signals(self) -> SignalRows:
        """The signals."""

    @property
    def llm_requests(self) -> LlmRequests:
        """The calls of models."""

    @property
    def sweeps(self) -> Sweeps:
        """What the sweeper asks."""

    @property
    def cached(self) -> CachedResults:
        """Results that other steps may take."""

    @property
    def meters(self) -> Meters:
        """What was spent."""

    @property
    def limits(self) -> Limits:
        """The slots of limits."""

    @property
    def token_rates(self) -> TokenRates:
        """What was used of rates of tokens."""

    @property
    def invariants(self) -> Invariants:
        """What must hold between the rows."""

    @property
    def overview(self) -> "Overview":
        """What pages show."""


class Records(Protocol):
    """The database.

    Its methods raise `DatabaseUnavailable`, `DatabaseNotMigrated` or `DatabaseTooNew`.
    """

    def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit; again from its start after a deadlock."""

    def autocommit(self, work: Callable[[Transaction], T], *, idempotent: bool = True) -> T:
        """Run one statement, or reads, without the round trips of a transaction.

        Args:
            work: What to run. After the loss of a connection it is run again.
            idempotent: False: not after that, since it may have happened already.
        """

    def atomic(self, work: Callable[[Transaction], T]) -> T:
        """Run a write in one statement where the database can do that, else in a transaction.

        Args:
            work: One call of a method that says so, e.g. `steps.complete_and_release`. It may have
                happened when the connection is lost, so it is not run again then.
        """

    def enlist(self, session: object) -> "EnlistedTransaction":
        """Take part in a transaction of the caller's.

        Raises:
            InvalidInput: that is no session, or one on another database or in autocommit.
        """


class EnlistedTransaction(Protocol):
    """A transaction of the caller's."""

    def work(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` within it; raises as `Records.transaction`."""

    def after_transaction(self, then: Callable[[], None]) -> None:
        """Call `then` once, when it was committed or rolled back as a whole."""
