"""The routes of playbooks.

    POST /api/v2/engine/register-playbook   a document becomes a version of its path
    POST /api/v2/events                     starts an execution, ends a call of an `external` step
    GET  /api/v2/health, /api/v2/playbook-schema
    POST /api/execute                       starts a registered playbook
    GET  /api/catalog, /api/catalog/{path}  what is registered

An execution is a run: /api/runs/{id} shows, steers and cancels it. Its execution id is bound to the
document that it runs, and is the idempotency key of the run: it starts once.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from flowq import bootstrap
from flowq.core.errors import InvalidInput
from flowq.engine.model.documents import Document
from flowq.entrypoints.http.auth import Caller
from flowq.entrypoints.http.playbooks import models
from flowq.entrypoints.http.playbooks.access import execution_of
from flowq.entrypoints.http.problems import Refused
from flowq.entrypoints.http.runs.access import CallerHere
from flowq.entrypoints.http.runs.models import Text
from flowq.playbooks import catalogue
from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.control import Control
from flowq.playbooks.control.events import Event, EventName
from flowq.playbooks.document.grammar.documents import json_schema
from flowq.playbooks.running.external import answer
from flowq.playbooks.running.log import replayed
from flowq.playbooks.running.submitting import enqueue

logger = logging.getLogger(__name__)
router = APIRouter(tags=["playbooks"])

_PAGE: Final = 100
_YAML: Final = frozenset({"text/yaml", "application/yaml", "application/x-yaml", "text/plain"})
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": False,
        "description": "The playbook, if the query has none.",
        "content": {
            "application/json": {"schema": models.Registration.model_json_schema()},
            "text/yaml": {"schema": {"type": "string"}},
        },
    }
}


async def _registration(
    request: Request,
    playbook_yaml: Annotated[str | None, Query(description="Instead of a body.")] = None,
    execution_id: Annotated[Text | None, Query(description="Beside a body of YAML.")] = None,
    compat: Annotated[bool, Query(description="Beside a body of YAML.")] = False,  # noqa: FBT002 - of the query
) -> models.Registration:
    """Return what is to be registered: JSON, YAML, or parameters of the query."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if playbook_yaml is None and kind in _YAML:
            playbook_yaml = body.decode()
        if playbook_yaml is None:
            return models.Registration.model_validate_json(body)
    except UnicodeDecodeError:
        raise InvalidInput("the body is not in UTF-8") from None
    except ValidationError as error:
        # The place in the text is in the message; the answer to invalid JSON expects a character.
        wrong = [{**one, "loc": ("body", *(one["loc"] or (0,)))} for one in error.errors()]
        raise RequestValidationError(wrong) from None
    return models.Registration(
        playbook_yaml=playbook_yaml, execution_id=execution_id, compat=compat
    )


@router.post(
    "/api/v2/engine/register-playbook",
    openapi_extra=_BODY,
    responses={400: {"model": models.PlaybookRefused, "description": "It is no playbook."}},
)
def register(
    given: Annotated[models.Registration, Depends(_registration)], caller: CallerHere
) -> models.Registered:
    """Register a playbook; the same text again is the same version."""
    done = catalogue.register(
        bootstrap.engine(),
        given.playbook_yaml,
        seen_by=caller.sees,
        owner=caller.user_id,
        compat=given.compat,
        execution_id=given.execution_id,
    )
    return models.Registered(name=done.name, path=done.head.path, version=done.head.version)


@router.post("/api/v2/events")
def handle(event: models.Event, caller: CallerHere) -> models.Processed:
    """Take an event: `workflow.start`, and `call.done` or `call.error` of an `external` step.

    Others lead to nothing.
    """
    if event.name in (EventName.CALL_DONE, EventName.CALL_ERROR):
        return models.Processed.of(_answered(event, caller))
    if event.name != EventName.WORKFLOW_START:
        logger.info("event %s of execution %s leads to nothing", event.name, event.execution_id)
        return models.Processed.of([])
    document = _document_of(event, caller.sees)
    if document is None:
        logger.warning("no playbook is registered for execution %s", event.execution_id)
        return models.Processed.of([])
    workload = event.payload.get("workload") or {}
    if not isinstance(workload, dict):
        raise InvalidInput("payload.workload is not an object")
    catalogue.bind(bootstrap.engine(), event.execution_id, document)
    return models.Processed.of(_started(document, workload, event.execution_id, caller)[1])


@router.get("/api/v2/health")
async def health() -> dict[str, str]:
    """Say that this process takes events."""
    return {"status": "healthy", "service": "noetl-v2-event-api", "engine": "ready"}


@router.get("/api/v2/playbook-schema")
async def schema() -> dict[str, Any]:
    """Return the JSON Schema of playbooks."""
    return json_schema()


@router.post("/api/execute")
def execute(wanted: models.Execute, caller: CallerHere) -> models.Executing:
    """Start an execution of a registered playbook."""
    engine = bootstrap.engine()
    if wanted.catalog_id is not None:
        document = catalogue.by_id(engine, wanted.catalog_id, seen_by=caller.sees)
    else:
        assert wanted.path is not None  # see `Execute`
        document = catalogue.get(engine, wanted.path, wanted.version, seen_by=caller.sees)
    parent = wanted.parent_execution_id
    metadata = {} if parent is None else {"parent_execution_id": parent}
    run_id, commands = _started(document, wanted.payload, None, caller, metadata)
    return models.Executing(execution_id=run_id, commands_generated=len(commands))


@router.get("/api/catalog")
def registered(
    caller: CallerHere,
    after: Annotated[str, Query(max_length=200, description="Only paths after this.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = _PAGE,
) -> models.Catalogue:
    """List the newest version of each playbook, by path."""
    found = catalogue.newest(bootstrap.engine(), seen_by=caller.sees, after=after, limit=limit + 1)
    part = [models.CatalogueEntry.of(head) for head in found[:limit]]
    return models.Catalogue(playbooks=part, next=part[-1].path if len(found) > limit else None)


@router.get("/api/catalog/{path:path}")
def versions(path: Text, caller: CallerHere) -> models.Catalogue:
    """List the versions of a playbook, the newest first."""
    engine = bootstrap.engine()
    catalogue.get(engine, path, seen_by=caller.sees)
    found = catalogue.versions(engine, path, seen_by=caller.sees)
    return models.Catalogue(playbooks=[models.CatalogueEntry.of(head) for head in found])


def _document_of(event: models.Event, seen_by: str | None) -> Document | None:
    """Return what an execution runs: what its id is bound to, a path, or the only playbook."""
    engine = bootstrap.engine()
    bound = catalogue.bound(engine, event.execution_id, seen_by=seen_by)
    if bound is not None:
        return bound
    path = event.payload.get("path")
    if isinstance(path, str):
        return catalogue.get(engine, path, seen_by=seen_by)
    found = catalogue.newest(engine, seen_by=seen_by, limit=2)
    return catalogue.get(engine, found[0].path, seen_by=seen_by) if len(found) == 1 else None


def _answered(event: models.Event, caller: Caller) -> list[Command]:
    """Send the end of a call to the execution that waits for it; return what follows."""
    execution = execution_of(event.execution_id, caller)
    if execution is None:
        logger.warning("there is no execution %s", event.execution_id)
        return []
    control = replayed(bootstrap.engine(), execution.run.id).control
    known = Event(**event.model_dump(), timestamp=datetime.now(UTC))
    return [] if control is None else answer(execution.run, control, known)


def _started(
    document: Document,
    payload: dict[str, Any],
    execution_id: str | None,
    caller: Caller,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Any, list[Command]]:
    """Start an execution; return the id of its run and its first commands.

    Raises:
        Refused: 409; an execution of somebody else has the id.
    """
    playbook = catalogue.playbook_of(document)
    run = enqueue(
        playbook,
        payload,
        execution_id=execution_id,
        user_id=caller.user_id,
        metadata=metadata,
        document_id=document.id,
    )
    known = bootstrap.engine().records.autocommit(lambda tx: tx.runs.stand_in(run.id))
    if known is not None and not caller.may_see(known.user_id):
        raise Refused(409, "ExecutionIdTaken", f"the execution id {execution_id!r} is taken")
    control = Control(
        playbook,
        payload,
        execution_id=execution_id or str(run.id),
        now=lambda: datetime.now(UTC),
        uuid=uuid4,
    )
    return run.id, control.start()
