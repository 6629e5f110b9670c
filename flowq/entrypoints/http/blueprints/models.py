"""What requests and answers of the routes of blueprints hold."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from flowq.core.states import RunState
from flowq.core.usage import Usd
from flowq.engine.model.documents import Document, DocumentHead, Visibility
from flowq.engine.model.rows import RunFacts
from flowq.engine.queries.instances import DocumentRun, DocumentUsage
from flowq.entrypoints.http.runs.models import Text
from flowq.playbooks.blueprints.models import (
    MAX_EDGES,
    MAX_NODES,
    Blueprint,
    Edge,
    Node,
    read,
)

#: Seconds that a request for an output waits at most.
MAX_WAIT = 600


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewBlueprint(Blueprint):
    """A blueprint to be stored."""

    is_template: bool = Field(False, strict=True)
    visibility: Visibility = Visibility.PRIVATE
    team_id: Text | None = Field(None, description="By default the team of the caller.")

    @property
    def blueprint(self) -> Blueprint:
        """The blueprint itself."""
        return read(self.model_dump(mode="json", by_alias=True, exclude_unset=True, include=_OWN))


_OWN = set(Blueprint.model_fields)


class BlueprintChanges(_Request):
    """What is different in the next version; what is not given stays."""

    name: Text | None = None
    description: str | None = Field(None, max_length=10_000)
    nodes: list[Node] | None = Field(None, max_length=MAX_NODES)
    edges: list[Edge] | None = Field(None, max_length=MAX_EDGES)
    config: dict[str, JsonValue] | None = None
    is_template: bool | None = Field(None, strict=True)
    visibility: Visibility | None = None
    team_id: Text | None = None

    @property
    def given(self) -> Mapping[str, Any]:
        """The changes as data."""
        found = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        found = {name: value for name, value in found.items() if value is not None}
        return found | ({"visibility": self.visibility} if self.visibility else {})


class Clone(_Request):
    """What is different in a clone."""

    name: Text | None = None
    description: str | None = Field(None, max_length=10_000)

    @property
    def given(self) -> Mapping[str, Any]:
        """The changes as data."""
        return self.model_dump(exclude_none=True)


class BlueprintHead(BaseModel):
    """A version of a blueprint in a list."""

    id: UUID
    name: str
    description: str
    version: int
    is_template: bool
    parent_id: UUID | None = Field(description="The blueprint that it was cloned from.")
    owner_id: str | None
    team_id: str | None
    visibility: Visibility
    lineage: str = Field(description="The same in all versions.")
    node_count: int
    created_at: datetime

    @classmethod
    def of(cls, head: DocumentHead, **more: Any) -> Self:
        """Return what is shown of a stored document."""
        return cls(
            id=head.id,
            name=head.labels["name"],
            description=head.labels["description"],
            version=head.version,
            is_template=head.is_template,
            parent_id=head.parent_id,
            owner_id=head.owner_id,
            team_id=head.team_id,
            visibility=head.visibility,
            lineage=head.path,
            node_count=head.labels["nodes"],
            created_at=head.created_at,
            **more,
        )


class StoredBlueprint(BlueprintHead):
    """A version of a blueprint."""

    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    config: dict[str, Any]

    @classmethod
    def whole(cls, document: Document) -> Self:
        """Return a stored document."""
        content = {name: document.content.get(name, []) for name in ("nodes", "edges")}
        return cls.of(document, **content, config=document.content.get("config", {}))


class BlueprintList(BaseModel):
    """A part of the blueprints that one may read, the latest change first."""

    blueprints: list[BlueprintHead]
    next: UUID | None = Field(description="Give it as `before` to get the next part.")


class Deleted(BaseModel):
    """What was deleted."""

    deleted: int = Field(description="How many versions.")


# --- instances ------------------------------------------------------------------------------------


class Execution(_Request):
    """An instance to be started."""

    input_data: dict[str, JsonValue] = Field({}, description="Become variables.")
    conversation_id: Text | None = None

    @field_validator("input_data")
    @classmethod
    def _names(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if any(len(name) > 200 for name in given):
            raise ValueError("a name has more than 200 characters")
        return given


class ModedExecution(Execution):
    """An instance to be started, and whether to wait for its output."""

    mode: Literal["sync", "async"] = "async"
    timeout_seconds: float = Field(
        30, gt=0, le=MAX_WAIT, description="With `sync`: how long to wait; it goes on after that."
    )


class Started(BaseModel):
    """An instance that was started, and goes on."""

    instance_id: UUID
    status: Literal["started", "running"] = Field(
        description="`running`: its output did not come within `timeout_seconds`."
    )


class Metrics(BaseModel):
    """What an instance has used."""

    execution_time_ms: int | None
    tokens_used: int
    cost: Usd = Field(description="USD, as text.")


class Finished(BaseModel):
    """An instance that is over."""

    instance_id: UUID
    status: Literal["completed", "failed", "cancelled"]
    output: Any = None
    error_message: str | None = None
    metrics: Metrics


class InstanceHead(BaseModel):
    """An instance in a list."""

    id: UUID
    blueprint_id: UUID = Field(description="The version that it runs.")
    blueprint_name: str
    blueprint_version: int
    status: RunState
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_ms: int | None
    tokens_used: int
    cost: Usd
    user_id: str | None

    @classmethod
    def of(cls, run: RunFacts, document: DocumentRun, **more: Any) -> Self:
        """Return what is shown of a run."""
        return cls(
            id=run.id,
            blueprint_id=document.document_id,
            blueprint_name=document.labels["name"],
            blueprint_version=document.version,
            status=run.status,
            error_message=run.error,
            created_at=run.created_at,
            started_at=run.started_at,
            completed_at=run.completed_at,
            execution_time_ms=run.execution_time_ms,
            tokens_used=run.tokens,
            cost=run.cost,
            user_id=run.user_id,
            **more,
        )


class Instance(InstanceHead):
    """An instance."""

    input_data: dict[str, Any]
    output_data: Any = Field(description="When it is completed.")
    conversation_id: str | None


class InstanceList(BaseModel):
    """A part of the instances that one may see, the newest first."""

    instances: list[InstanceHead]
    next: UUID | None = Field(description="Give it as `before` to get the next part.")


class Logs(BaseModel):
    """What has happened in an instance, a line each."""

    instance_id: UUID
    lines: list[str]


class Cancelled(BaseModel):
    """An instance, and its state after it was cancelled."""

    instance_id: UUID
    status: RunState


# --- analytics ------------------------------------------------------------------------------------


class Usage(BaseModel):
    """What instances have used in some days."""

    instances: int
    by_status: dict[RunState, int]
    success_rate: float | None = Field(description="Of those that are over, from 0 to 1.")
    average_time_ms: float | None
    tokens_used: int
    cost: Usd

    @classmethod
    def of(cls, used: "list[DocumentUsage]", **more: Any) -> Self:
        """Return the sum of what some documents have used."""
        states: dict[RunState, int] = {}
        for one in used:
            for state, count in one.states.items():
                states[state] = states.get(state, 0) + count
        over = sum(states.get(one, 0) for one in _OVER)
        timed = sum(one.timed for one in used)
        return cls(
            instances=sum(states.values()),
            by_status=states,
            success_rate=round(states.get(RunState.COMPLETED, 0) / over, 4) if over else None,
            average_time_ms=(
                round(sum(one.execution_time_ms for one in used) / timed, 1) if timed else None
            ),
            tokens_used=sum(one.tokens for one in used),
            cost=sum((one.cost for one in used), Decimal(0)),
            **more,
        )


_OVER = (RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED)


class BlueprintUsage(Usage):
    """What the instances of all versions of a blueprint have used."""

    blueprint_id: UUID = Field(description="The newest version that has run, or the one asked for.")
    name: str
    days: int


class AllUsage(Usage):
    """What the instances of all blueprints have used."""

    days: int
    blueprints: list[BlueprintUsage]
