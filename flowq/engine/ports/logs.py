"""What steps have logged, in bunches."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import RunId
from flowq.engine.model.logs import DroppedBunches, LogBunch, LogFilter, LogPlace, StoredBunch


class Logs(Protocol):
    """The rows of `flow_logs`, within one transaction."""

    def write(
        self, bunches: Sequence[LogBunch], dropped: Sequence[DroppedBunches] = ()
    ) -> list[str]:
        """Insert bunches, and delete those that they displace; safe to repeat.

        Bunches of runs that were deleted meanwhile are left out.

        Returns:
            The keys of the objects of what was deleted or left out.
        """

    def bunches(
        self,
        run_id: RunId,
        wanted: LogFilter,
        *,
        after: LogPlace | None = None,
        limit: int,
        newest: bool = False,
    ) -> list[StoredBunch]:
        """Bunches of a run in the order of their first lines.

        Args:
            run_id: The run.
            wanted: Bunches that have no such line are left out.
            after: Only bunches after this place; with `newest` before it.
            limit: How many at most.
            newest: The last ones, and these in descending order.
        """

    def expire(self, age: timedelta, *, limit: int) -> tuple[int, list[str]]:
        """Delete old bunches: how many were deleted, and the keys of their objects."""

    def named(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys of objects that a bunch references."""
