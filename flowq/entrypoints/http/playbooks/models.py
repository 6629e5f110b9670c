"""What requests and answers of the routes of playbooks hold."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from flowq.core.states import RunState
from flowq.engine.model.documents import DocumentHead
from flowq.entrypoints.http.runs.models import Text
from flowq.playbooks.control.commands import Command, plain
from flowq.playbooks.running.log import LogEvent


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Registration(_Request):
    """A playbook to be registered."""

    playbook_yaml: str = Field(description="The playbook, in YAML or JSON.")
    execution_id: Text | None = Field(None, description="An id that an execution will have.")
    compat: bool = Field(False, description="Accept what other engines accept.", strict=True)


class Registered(BaseModel):
    """A playbook that was registered."""

    status: Literal["registered"] = "registered"
    name: str
    path: str
    version: int


class PlaybookProblem(BaseModel):
    """What is wrong at one place of a playbook."""

    line: int | None
    column: int | None
    path: str
    message: str


class PlaybookRefused(BaseModel):
    """Why a playbook was refused: all its problems."""

    detail: str
    problems: list[PlaybookProblem]


class Event(BaseModel):
    """What has happened in an execution."""

    execution_id: Text
    name: Text = Field(description="E.g. `workflow.start`.")
    step: Text | None = None
    payload: dict[str, JsonValue] = {}
    worker_id: str | None = None
    attempt: int = Field(1, ge=1, strict=True)


class IssuedCommand(BaseModel):
    """A command that follows an event."""

    execution_id: str
    step: str
    tool_kind: str
    args: dict[str, Any]
    attempt: int

    @classmethod
    def of(cls, command: Command) -> Self:
        """Return what is shown of a command."""
        return cls(
            execution_id=command.execution_id,
            step=command.step,
            tool_kind=command.tool.kind,
            args=plain(command.args),
            attempt=command.attempt,
        )


class Processed(BaseModel):
    """What an event has led to."""

    status: Literal["processed"] = "processed"
    commands_generated: int
    commands: list[IssuedCommand]
    message: str

    @classmethod
    def of(cls, commands: list[Command]) -> Self:
        """Return the answer for the commands that an event has led to."""
        count = len(commands)
        return cls(
            commands_generated=count,
            commands=[IssuedCommand.of(one) for one in commands],
            message=f"Event processed successfully, {count} command(s) queued",
        )


class Execute(_Request):
    """A registered playbook to be executed."""

    path: Text | None = Field(None, description="Its path; or give `catalog_id`.")
    catalog_id: UUID | None = Field(None, description="A version, as the catalogue names it.")
    version: int | None = Field(None, ge=1, lt=2**31, strict=True, description="With `path`.")
    payload: dict[str, JsonValue] = Field({}, description="Is merged over the workload.")
    parent_execution_id: Text | None = Field(
        None, description="The execution that asks for it; is kept in the metadata of the run."
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.path is None) == (self.catalog_id is None):
            raise ValueError("give either path or catalog_id")
        if self.version is not None and self.path is None:
            raise ValueError("version is of a path; a catalog_id is that of one version")
        return self


class Executing(BaseModel):
    """An execution that was started."""

    execution_id: UUID
    status: Literal["started"] = "started"
    commands_generated: int


class CatalogueEntry(BaseModel):
    """A version of a registered playbook."""

    catalog_id: UUID
    path: str
    version: int
    owner: str | None
    sha256: str
    created_at: datetime

    @classmethod
    def of(cls, head: DocumentHead) -> Self:
        """Return what is shown of a stored document."""
        return cls(
            catalog_id=head.id,
            path=head.path,
            version=head.version,
            owner=head.owner_id,
            sha256=head.sha256,
            created_at=head.created_at,
        )


class Catalogue(BaseModel):
    """Registered playbooks, or versions of one."""

    playbooks: list[CatalogueEntry]
    next: str | None = Field(None, description="Give it as `after` for those that follow.")


class ExecutionStatus(BaseModel):
    """Where an execution is."""

    execution_id: str
    run_id: UUID
    current_step: str | None = Field(description="The step that began last and is not terminal.")
    completed_steps: list[str]
    failed: bool = Field(description="It has failed, or was cancelled.")
    completed: bool
    variables: dict[str, Any]


class LoggedEvent(BaseModel):
    """An event of the log of an execution."""

    event_id: int = Field(description="From 1, in order; it never changes.")
    event_type: str
    node_name: str
    status: str
    created_at: datetime
    payload: dict[str, Any]

    @classmethod
    def of(cls, event: LogEvent) -> Self:
        """Return what is shown of an event."""
        return cls(
            event_id=event.event_id,
            event_type=event.event_type,
            node_name=event.node_name,
            status=event.status,
            created_at=event.created_at,
            payload=dict(event.payload),
        )


class EventLog(BaseModel):
    """The log of an execution."""

    events: list[LoggedEvent]


class StepResult(BaseModel):
    """The result of a step."""

    step: str
    result: Any


class OpenCommand(BaseModel):
    """A call that waits for somebody."""

    execution_id: str
    command_id: int
    step: str
    tool_kind: Literal["external"] = "external"
    attempt: int


class OpenCommands(BaseModel):
    """The calls that wait for somebody."""

    commands: list[OpenCommand]


class CancellationCheck(BaseModel):
    """Whether an execution was cancelled."""

    execution_id: str
    cancelled: bool
    status: RunState


class Cancellation(_Request):
    """Why an execution is cancelled."""

    reason: str | None = Field(None, max_length=1_000)
    cascade: Literal[True] = Field(True, description="Executions that it has started go along.")


class Cancelled(BaseModel):
    """What was cancelled."""

    status: Literal["cancelled", "error"]
    execution_id: str
    cancelled_executions: list[str] = []
    message: str


class Variables(BaseModel):
    """The variables of an execution."""

    execution_id: str
    variables: dict[str, Any]


class Variable(BaseModel):
    """A variable of an execution."""

    name: str
    value: Any
