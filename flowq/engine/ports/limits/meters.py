"""What was spent, by run, and by user and flow in each month."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from flowq.core.usage import Usage


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
