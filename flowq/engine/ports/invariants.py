"""What the check of the invariants asks of the records; see `flowq.engine.sweeper.invariants`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import RunId
from flowq.engine.model.rows import Invariant, PlacedRun, StoredObject, Suspect, Violation


class Invariants(Protocol):
    """Finds rows that must not be; changes nothing."""

    @property
    def listed(self) -> Sequence[Invariant]:
        """What `violations` checks."""

    def violations(self, *, grace: timedelta, max_recoveries: int) -> list[Violation]:
        """Rows at fault, all as of one moment.

        Args:
            grace: How long what is on its way may take; younger states are not reported.
            max_recoveries: How often a step may be recovered.
        """

    def suspects(self) -> list[Suspect]:
        """Steps whose failures only the spec of their run can allow."""

    def placed(self, after: RunId | None = None) -> list[PlacedRun]:
        """Some runs with their nodes, in the order of their ids; none when no more come `after`."""

    def objects(self) -> list[StoredObject]:
        """What rows say about objects."""
