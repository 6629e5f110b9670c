"""What was spent, by run, and by user and flow in each month."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from flowq.core.ids import RunId
from flowq.core.limits.reservations import MeterUse
from flowq.core.usage import Usage
from flowq.engine.model.model_calls import Caller


class Meters(Protocol):
    """Sums over calls of models, kept as they end.

    A meter is `run:<id>`, `user:<id>` or `flow:<name>`; the last two count from the first of the
    month, UTC.
    """

    def spent(self, meters: Sequence[str]) -> Mapping[str, Usage]:
        """What was charged to these meters; a missing one is made with what was spent so far."""

    def month(self) -> str:
        """The present month: `2030-01`."""

    def charge(self, charges: Mapping[str, Usage]) -> None:
        """Add to meters that exist."""

    def warn(self, meter: str, run_id: RunId, warning: Mapping[str, Any]) -> bool:
        """Record a warning with the run whose call has caused it; return False if it was given."""

    def warnings(self, run_id: RunId) -> list[Mapping[str, Any]]:
        """The warnings that calls of a run have caused, in order."""

    def rearm(self, meter: str) -> None:
        """Forget that a warning was given, since the budget was raised."""

    # --- reservations of running calls ------------------------------------------------------------

    def lock(self, meters: Sequence[str]) -> Mapping[str, MeterUse]:
        """What is spent and reserved, in the given order; locked until the transaction ends."""

    def reserve(self, call_id: UUID, caller: Caller, made: Mapping[str, Usage]) -> None:
        """Reserve under locked meters, until the call ends or its attempt has lost its lease."""

    def release(self, call_ids: Sequence[UUID]) -> None:
        """Delete the reservations of calls that have ended."""

    def reclaim(self, age: timedelta) -> int:
        """Delete reservations, made at least `age` ago, whose attempt does not run any more."""
