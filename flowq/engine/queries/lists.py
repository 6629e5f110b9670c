"""The values of the lists that pages show: runs, the latest runs of each flow, budgets.

A list is ordered by the ids of runs, newest first. The id of a child run has the time of its
parent's id, so it is listed beside it. Filters by time compare ids too: so a page costs the same
however many runs there are.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flowq.core.ids import RunId
from flowq.core.limits.budgets import BudgetSpec
from flowq.core.states import RunState
from flowq.core.usage import Usage
from flowq.engine.model.documents import DocumentKind
from flowq.engine.model.rows import RunFacts


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows: those that meet all conditions.

    Attributes:
        states: In one of these states; empty for any.
        since: Not before this time.
        until: Before this time.
        text: The beginning of a run's id, a part of the name of its flow, or a part of its error.
        children: Whether to include child runs.
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
    document_kind: DocumentKind | None = None
    document_path: str | None = None
    document_id: UUID | None = None


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


@dataclass(frozen=True, slots=True)
class RunsPage:
    """A part of a list of runs."""

    runs: tuple[ListedRun, ...] = ()  #: Newest first.
    has_newer: bool = False
    has_older: bool = False


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
