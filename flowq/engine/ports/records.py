"""The database: transactions, and what is worth a statement of its own."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from flowq.core.ids import StepRunId
from flowq.core.states import StepState
from flowq.engine.model.rows import (
    Claim,
    Outcome,
    Together,
)
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

    Both methods raise `DatabaseUnavailable`, `DatabaseNotMigrated` or `DatabaseTooNew`.
    """

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction and commit; again from its start after a deadlock."""

    def single(self, work: Callable[[Transaction], T], *, once: bool = False) -> T:
        """Run one statement, or reads, without the round trips of a transaction.

        Args:
            work: What to run. After the loss of a connection it is run again.
            once: Not after that: it may have happened, and would not know itself again.
        """

    def complete_and_wake(
        self, claim: Claim, outcome: Outcome, program: StepRunId, resend_after: timedelta
    ) -> bool | None:
        """Complete a call and queue its program, both or neither; see `ProgramRows`."""

    def joined(self, session: object) -> "Joined":
        """Take part in a transaction of the caller's.

        Raises:
            InvalidInput: that is no session, or one on another database or in autocommit.
        """

    def complete_and_release(
        self,
        claim: Claim,
        outcome: Outcome,
        dependents: Sequence[str],
        together: Together | None = None,
    ) -> dict[str, tuple[int, StepState]] | None:
        """Complete a step and count its dependents down by one, both or neither.

        This is the way of most steps, so it has a method of its own: a database that can do it in
        one statement spares a transaction.

        Args:
            claim: The attempt.
            outcome: What it leaves.
            dependents: Keys of all that wait for it.
            together: When those that reach zero can be queued by this statement, and as what. That
                a sibling completed at the same moment may be missed: then they stay pending.

        Returns:
            From each dependent to its open dependencies and its state; None when the lease is lost
            and nothing was changed.
        """


class Joined(Protocol):
    """A transaction of the caller's."""

    def work(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` within it; raises as `Records.write`."""

    def when_ended(self, then: Callable[[], None]) -> None:
        """Call `then` once, when it was committed or rolled back as a whole."""
