"""Runs of stored documents: what each was started from, and what they have used together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from flowq.core.states import RunState


@dataclass(frozen=True, slots=True)
class DocumentRun:
    """What a run was started from.

    Attributes:
        document_id: The version of the document.
        labels: Of that version.
        metadata: Of the run.
    """

    document_id: UUID
    path: str
    version: int
    labels: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DocumentUsage:
    """What the runs of a document have used.

    Attributes:
        path: The document.
        newest: Its newest version that has run.
        states: How many runs are in each state.
        execution_time_ms: Of all runs whose time is known, together;
        timed: and how many those are.
    """

    path: str
    newest: UUID
    states: Mapping[RunState, int]
    tokens: int
    cost: Decimal
    execution_time_ms: int
    timed: int
