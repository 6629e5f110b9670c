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

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit; again from its start after a deadlock."""

    def single(self, work: Callable[[Transaction], T], *, once: bool = False) -> T:
        """Run one statement, or reads, without the round trips of a transaction.

        Args:
            work: What to run. After the loss of a connection it is run again.
            once: Not after that: it may have happened, and would not know itself again.
        """

    def atomic(self, work: Callable[[Transaction], T]) -> T:
        """Run a write in one statement where the database can do that, else in a transaction.

        Args:
            work: One call of a method that says so, e.g. `steps.complete_and_release`. It may have
                happened when the connection is lost, so it is not run again then.
        """

    def joined(self, session: object) -> "Joined":
        """Take part in a transaction of the caller's.

        Raises:
            InvalidInput: that is no session, or one on another database or in autocommit.
        """


class Joined(Protocol):
    """A transaction of the caller's."""

    def work(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` within it; raises as `Records.write`."""

    def when_ended(self, then: Callable[[], None]) -> None:
        """Call `then` once, when it was committed or rolled back as a whole."""
