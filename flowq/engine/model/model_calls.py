"""The values of model calls and their costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.limits.slots import Limit
from flowq.core.usage import CostStatus, RequestStatus, Tokens


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a model: an attempt of a step, or code outside any run."""

    run_id: RunId | None = None
    step_id: StepRunId | None = None
    token: LeaseToken | None = None
    attempt: int = 1
    step_name: str | None = None
    flow_name: str | None = None
    user_id: str | None = None
    meters: tuple[str, ...] = ()  #: Meters of its calls, see `engine.ports.Meters`.
    rates: tuple[Limit, ...] = ()  #: The rates of tokens that its calls are charged to.


@dataclass(frozen=True, slots=True)
class StartedRequest:
    """A call that is about to be made."""

    id: UUID
    caller: Caller
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """A call that has ended.

    Attributes:
        cost: USD; None when it is unknown.
        object_key: The object that it made, e.g. an image.
        prompt: What the model was asked, as text for people,
        answer: and what it has answered; None if that is not kept.
        presumed: USD that budgets count when its cost is unknown.
    """

    id: UUID
    caller: Caller
    status: RequestStatus
    tokens: Tokens = field(default_factory=Tokens)
    cost: Decimal | None = None
    cost_status: CostStatus = CostStatus.UNKNOWN
    latency_ms: int = 0
    error: str | None = None
    object_key: str | None = None
    presumed: Decimal = Decimal(0)
    prompt: str | None = None
    answer: str | None = None

    @property
    def charged(self) -> Decimal:
        """What budgets count, in USD."""
        return self.presumed if self.cost is None else self.cost


@dataclass(frozen=True, slots=True)
class RequestView:
    """A call as people see it."""

    id: UUID
    step_id: StepRunId | None
    attempt: int
    provider: str
    model: str
    status: RequestStatus
    tokens: Tokens
    cost: Decimal | None
    cost_status: CostStatus
    latency_ms: int | None
    error: str | None
    created_at: datetime
    prompt: str | None = None
    answer: str | None = None


class CostBy(StrEnum):
    """What costs are summed by."""

    FLOW = "flow"
    MODEL = "model"
    USER = "user"
    DAY = "day"  #: UTC.


@dataclass(frozen=True, slots=True)
class CostLine:
    """What a group of calls used."""

    name: str | None  #: Of the flow, model, user or day; None for calls that have none.
    calls: int
    failed: int  #: Calls that failed, were cancelled or are lost.
    unknown: int  #: Calls whose cost is unknown, including running ones.
    tokens: Tokens
    cost: Decimal  #: Of the calls whose cost is known.

    @classmethod
    def total(cls, lines: Sequence["CostLine"]) -> "CostLine":
        """Sum up groups of calls."""
        return cls(
            name=None,
            calls=sum(line.calls for line in lines),
            failed=sum(line.failed for line in lines),
            unknown=sum(line.unknown for line in lines),
            tokens=sum((line.tokens for line in lines), Tokens()),
            cost=sum((line.cost for line in lines), Decimal(0)),
        )


#: The name of calls that have no such name.
NAMELESS: Final[Mapping[CostBy, str]] = {
    CostBy.FLOW: "(outside any run)",
    CostBy.USER: "(no user)",
}
