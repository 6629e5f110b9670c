"""The values of the lists that pages show: runs, the latest runs of each flow, budgets.

A list is ordered by the ids of runs, newest first. The id of a child run has the time of its
parent's id, so it is listed beside it. Filters by time compare ids too: so a page costs the same
however many runs there are.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from flowq.core.ids import RunId
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.states import RunState
from flowq.core.usage import Usage
from flowq.engine.model.documents import DocumentKind
from flowq.engine.model.rows import RunFacts

#: Runs that are looked at, the newest, if no index answers a filter or an order.
MAX_SEARCHED: Final = 10_000
#: Up to this number of runs a chip has the exact number.
MAX_COUNTED: Final = 1_000
#: Up to this number of steps the failed ones of a run are counted in lists.
MAX_STEPS_COUNTED: Final = 1_000


class RunSort(StrEnum):
    """The order of a list; only the first has further pages."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LONGEST = "longest"
    COSTLIEST = "costliest"
    STALLED = "stalled"  #: Open runs, the one without progress for the longest time first.


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows: those that meet all conditions.

    Attributes:
        states: In one of these states; empty for any.
        since: Not before this time.
        until: Before this time.
        text: The beginning of a run's id, a part of the name of its flow, or a part of its error.
        children: Whether to include child runs.
        user_part: A part of its user.
        error_type: The class of the error of a step that has failed.
        step: The key, or the name, of one of its steps.
        metadata: Entries of its metadata, by key, as text.
        inputs: Entries of its inputs, likewise.
        attention: Only runs that need somebody, see `adapters.records.queries.searches`.
        sort: The order of the list.
        document_kind: Only runs of stored documents of this kind,
        document_path: and only of this document; no text is searched then.
        document_id: Only runs of this version of a document.
    """

    states: frozenset[RunState] = frozenset()
    flow_name: str | None = None
    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    children: bool = True
    user_part: str | None = None
    error_type: str | None = None
    step: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    attention: bool = False
    sort: RunSort = RunSort.NEWEST
    document_kind: DocumentKind | None = None
    document_path: str | None = None
    document_id: UUID | None = None

    @property
    def is_searched(self) -> bool:
        """Whether no index answers it, so that only the newest `MAX_SEARCHED` runs are searched."""
        entries = (self.user_part, self.step, self.metadata, self.inputs)
        return any(entries) or self.sort not in {RunSort.NEWEST, RunSort.OLDEST}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page of a list begins: at the runs before a run, or after it."""

    run_id: RunId
    is_after: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun(RunFacts):
    """A run in a list."""

    is_child: bool
    document_id: UUID | None = None
    progress_at: datetime | None = None  #: When a step last began or ended; None if not counted.


@dataclass(frozen=True, slots=True)
class RunsPage:
    """A part of a list of runs."""

    runs: tuple[ListedRun, ...] = ()  #: Newest first.
    has_newer: bool = False
    has_older: bool = False


@dataclass(frozen=True, slots=True)
class RunName:
    """A run and the name of its flow."""

    id: RunId
    flow_name: str


@dataclass(frozen=True, slots=True)
class RootCause:
    """The first failure by which a run has failed: of an item, a call, or a step of a child run.

    Attributes:
        runs: The child run, its child run, and so on to that of the failure; empty if it is in the
            run itself.
        step: The step, or item, as people name it; None if no step has failed that run.
    """

    runs: tuple[RunName, ...]
    step: str | None
    error_type: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class FlowHistoryRun:
    """A run in the strip of its flow."""

    id: RunId
    status: RunState
    created_at: datetime
    execution_time_ms: int | None


@dataclass(frozen=True, slots=True)
class FlowHistoryBar:
    """The latest runs of a flow, the newest last."""

    flow_name: str
    runs: tuple[FlowHistoryRun, ...]


@dataclass(frozen=True, slots=True)
class BudgetUsage:
    """What was spent of a budget that counts for a month."""

    kind: str  #: Whose it is: `flow` or `user`.
    name: str
    used: Usage


@dataclass(frozen=True, slots=True)
class BudgetedRun:
    """An open run that has a budget, and what was spent of it."""

    id: RunId
    flow_name: str
    status: RunState
    budget: BudgetSpec
    used: Usage


@dataclass(frozen=True, slots=True)
class CacheSavings:
    """What cached results cost when they were made."""

    hits: int
    used: Usage
