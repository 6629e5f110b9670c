"""What the check of the invariants reads; see `flowq.engine.sweeper.invariants`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import RunId, StepRunId
from flowq.core.results import ResultRef
from flowq.engine.model.rows import Invariant, PlacedRun, Violation


@dataclass(frozen=True, slots=True)
class Suspect:
    """A step that breaks an invariant unless the spec of its run allows it."""

    run_id: RunId
    step_id: StepRunId
    key: str
    map_index: int | None
    failures: int  #: Attempts that were no recoveries.
    has_failed: bool  #: It is a failed node of a completed run.


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that a row names."""

    run_id: RunId
    step_id: StepRunId | None  #: None of a given value, which the row of the run names.
    key: str  #: Of the step, or of the given value.
    map_index: int | None
    result: ResultRef


class Invariants(Protocol):
    """Finds rows that break an invariant; changes nothing."""

    @property
    def listed(self) -> Sequence[Invariant]:
        """What `violations` checks."""

    def violations(self, *, grace: timedelta, max_recoveries: int) -> list[Violation]:
        """Rows that break an invariant, all read at one moment.

        Args:
            grace: How long intermediate states may last; younger ones are not reported.
            max_recoveries: How often a step may be recovered.
        """

    def suspects(self) -> list[Suspect]:
        """Steps whose failures only the spec of their run can allow."""

    def placed(self, after: RunId | None = None) -> list[PlacedRun]:
        """The next runs with their nodes, in the order of their ids; empty at the end."""

    def objects(self) -> list[StoredObject]:
        """The objects that rows reference."""
