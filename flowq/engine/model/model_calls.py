"""The values of model calls and their costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from flowq.core.errors import InvalidInput
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.core.limits.slots import Limit
from flowq.core.usage import AppliedPrice, CostStatus, RequestStatus, Tokens


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
    labels: Mapping[str, str] = field(default_factory=dict)  #: Of its outermost run.


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
        price: What the cost was computed with.
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
    price: AppliedPrice | None = None

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
    price: AppliedPrice | None = None


class CostBy(StrEnum):
    """What costs are summed by."""

    FLOW = "flow"
    MODEL = "model"
    USER = "user"
    DAY = "day"  #: UTC.
    METADATA = "metadata"  #: A key of the metadata of the outermost run.


#: The name of calls that have no such name.
_NAMELESS: Final[Mapping[CostBy, str]] = {
    CostBy.FLOW: "(outside any run)",
    CostBy.USER: "(no user)",
}
#: Longest key of metadata that costs are grouped by.
_MAX_KEY: Final = 200


@dataclass(frozen=True, slots=True)
class CostGroup:
    """What costs are grouped by: `model`, or `metadata.customer`.

    Attributes:
        by: What it is.
        key: The key of the metadata.
    """

    by: CostBy
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> "CostGroup":
        """Return the group of its text.

        Raises:
            InvalidInput: there is no such group.
        """
        name, _, key = text.strip().partition(".")
        if name not in set(CostBy) or bool(key) != (name == CostBy.METADATA):
            known = ", ".join(by for by in CostBy if by is not CostBy.METADATA)
            raise InvalidInput(
                f"costs cannot be grouped by {text!r}",
                hint=f"one of: {known}, or metadata.KEY, e.g. metadata.customer",
            )
        if '"' in key or "\\" in key or len(key) > _MAX_KEY:
            raise InvalidInput(
                f"costs cannot be grouped by the metadata key {key!r}",
                hint=f"keys have at most {_MAX_KEY} characters, and no quote or backslash",
            )
        return cls(CostBy(name), key)

    @property
    def nameless(self) -> str:
        """The name of the calls that have none."""
        return f"(no {self.key})" if self.key else _NAMELESS.get(self.by, "")

    def __str__(self) -> str:
        return f"{self.by}.{self.key}" if self.key else self.by.value


@dataclass(frozen=True, slots=True)
class CostLine:
    """What a group of calls used."""

    name: str | None  #: Of the flow, model, user, day or label; None for calls that have none.
    calls: int
    failed: int  #: Calls that failed, were cancelled or are lost.
    unknown: int  #: Calls whose cost is unknown, including running ones.
    tokens: Tokens
    cost: Decimal  #: Of the calls whose cost is known.
    also: str | None = None  #: The name in the second group, if there is one.

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
