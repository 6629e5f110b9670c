"""What the page of one step shows: its row, its earlier attempts, its calls of models.

An item of a map has a page of its own. The inputs of a step are not in here: they are references
to results of other steps, and a page resolves them (`flowq.entrypoints.flower.pages.run.values`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from flowq.core.ids import StepRunId
from flowq.core.results import ResultRef
from flowq.core.spec import StepKind
from flowq.core.states import StepState
from flowq.engine.model.model_calls import RequestView
from flowq.engine.queries.graph import PastAttempt

#: How many earlier attempts, and how many calls, are read: the newest.
MAX_ATTEMPTS: Final = 100
MAX_CALLS: Final = 100


@dataclass(frozen=True, slots=True)
class StepPage:
    """A step, or one item of a map.

    Attributes:
        kind: Of a call of a program; None of a step of a graph, whose spec has its kind.
        siblings: How many items its map has; 0 of a node.
        created_at: When its row was made; of a call or an item, when it was queued.
        started_at: When its first attempt began.
        attempt_at: When its last attempt began.
        wake_at: When a waiting or retrying step continues.
        execution_time_ms: How long its code ran, in all attempts.
        inputs: The arguments of a call of a program, or what an item adds to those of its map.
        outputs: The copy of its result in its row; of a large result, where that is.
        result: Where its result is; None if that cannot be read.
        past: Earlier attempts, the oldest first.
        past_count: How many of them there are.
        calls: Its calls of models, the oldest first.
        call_count: How many of them there are.
    """

    id: StepRunId
    key: str
    index: int | None
    name: str
    status: StepState
    kind: StepKind | None
    map_size: int | None
    siblings: int
    attempt: int
    recoveries: int
    created_at: datetime
    started_at: datetime | None
    attempt_at: datetime | None
    completed_at: datetime | None
    wake_at: datetime | None
    execution_time_ms: int | None
    tokens: int
    cost: Decimal
    unpriced: int
    worker: str | None
    error_type: str | None
    error_message: str | None
    metadata: Mapping[str, Any]
    inputs: Any
    outputs: Any
    result: ResultRef | None
    cached_from: StepRunId | None
    saved_cost: Decimal | None
    past: tuple[PastAttempt, ...]
    past_count: int
    calls: tuple[RequestView, ...]
    call_count: int

    @property
    def label(self) -> str:
        """The step as people name it."""
        return self.key if self.index is None else f"{self.key}[{self.index}]"
