"""The routes of instances: runs of blueprints, and what they have used.

    POST /api/v2/blueprints/{id}/execute    starts an instance; `sync` waits for its output
    POST /api/v2/blueprints/{id}/stream     the same, with its events as lines of JSON
    GET  /api/v2/instances, /instances/{id}, /instances/{id}/logs
    POST /api/v2/instances/{id}/cancel
    GET  /api/v2/blueprints/{id}/analytics, /analytics/usage

A client that hangs up stops nothing: an instance is a run, and only its cancel ends it.
"""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from flowq import bootstrap
from flowq.adapters import clock
from flowq.client import Run
from flowq.core.errors import FlowqError, ResultTimeout, RunCancelled, RunFailed, RunNotFound
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.engine import Engine
from flowq.engine.model.documents import DocumentKind, Viewer
from flowq.engine.queries.instances import DocumentUsage
from flowq.engine.queries.lists import Cursor, RunFilter
from flowq.entrypoints.http.blueprints import models
from flowq.entrypoints.http.blueprints.access import InstanceHere, ViewerHere
from flowq.entrypoints.http.blueprints.streams import LINES, InstanceStream
from flowq.entrypoints.http.bodies import StrictRoute
from flowq.entrypoints.http.runs.access import CallerHere
from flowq.entrypoints.http.runs.models import Reason, Text
from flowq.entrypoints.json_output import json_data
from flowq.playbooks.blueprints import catalogue
from flowq.playbooks.running.log import replayed
from flowq.playbooks.running.submitting import enqueue

router = APIRouter(prefix="/api/v2", tags=["blueprints"], route_class=StrictRoute)

_KIND: Final = DocumentKind.BLUEPRINT
_MOST_LINES: Final = 10_000
_DAYS: Final = 30
_Days = Annotated[int, Query(ge=1, le=366, description="How far back.")]


@router.post(
    "/blueprints/{blueprint_id}/execute",
    response_model=models.Finished,
    responses={202: {"model": models.Started, "description": "It was started, and goes on."}},
)
async def execute(
    blueprint_id: UUID, viewer: ViewerHere, wanted: models.ModedExecution | None = None
) -> Any:
    """Start an instance; with the mode `sync`, wait for its output."""
    wanted = wanted or models.ModedExecution()
    run = await asyncio.to_thread(_started, blueprint_id, viewer, wanted)
    if wanted.mode == "async":
        return _going_on(run, "started")
    try:
        output, error = (await run.aresult(timeout=wanted.timeout_seconds))["result"], None
    except ResultTimeout:
        return _going_on(run, "running")
    except (RunFailed, RunCancelled) as caught:
        output, error = None, caught
    return await asyncio.to_thread(_finished, run, output, error)


@router.post(
    "/blueprints/{blueprint_id}/stream",
    status_code=200,
    response_class=Response,  # errors are JSON
    responses={
        200: {
            "description": "A JSON object a line: `event_type` and what belongs to it, until "
            "`workflow_completed`, `workflow_failed` or `workflow_cancelled`. Empty lines keep "
            "the connection open. The header `Location` names the instance.",
            "content": {LINES: {"schema": {"type": "string"}}},
        }
    },
)
def stream(
    blueprint_id: UUID,
    viewer: ViewerHere,
    request: Request,
    wanted: models.Execution | None = None,
) -> InstanceStream:
    """Start an instance and follow it; it goes on when the client hangs up."""
    request.app.state.streams.check()  # before anything is started
    return InstanceStream(_started(blueprint_id, viewer, wanted or models.Execution()).id)


def _started(blueprint_id: UUID, viewer: Viewer, wanted: models.Execution) -> "Run[Any]":
    document = catalogue.get(bootstrap.engine(), blueprint_id, viewer)
    playbook = catalogue.playbook_of(document)
    conversation = wanted.conversation_id
    return enqueue(
        playbook,
        wanted.input_data,
        document_id=document.id,
        user_id=viewer.user_id,
        metadata={"conversation_id": conversation} if conversation else None,
    )


def _going_on(run: "Run[Any]", status: Any) -> JSONResponse:
    body = models.Started(instance_id=run.id, status=status).model_dump(mode="json")
    return JSONResponse(body, 202, {"Location": f"/api/v2/instances/{run.id}"})


def _finished(run: "Run[Any]", output: Any, error: FlowqError | None) -> models.Finished:
    head = _head(run)
    status: Any = str(head.status)
    return models.Finished(
        instance_id=run.id,
        status=status,
        output=json_data(output),
        error_message=head.error if error is not None else None,
        metrics=models.Metrics(
            execution_time_ms=head.execution_time_ms, tokens_used=head.tokens, cost=head.cost
        ),
    )


# --- instances ------------------------------------------------------------------------------------


@router.get("/instances")
def list_instances(
    *,
    caller: CallerHere,
    viewer: ViewerHere,
    blueprint_id: Annotated[UUID | None, Query(description="Of any version of this.")] = None,
    status: Annotated[list[RunState] | None, Query(description="Only in these states.")] = None,
    user: Annotated[Text | None, Query(description="Of this user; for admins.")] = None,
    before: Annotated[UUID | None, Query(description="Only older ones than this.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> models.InstanceList:
    """List instances, the newest first."""
    engine = bootstrap.engine()
    path = catalogue.get(engine, blueprint_id, viewer).path if blueprint_id else None
    wanted = RunFilter(
        states=frozenset(status or ()),
        user_id=caller.sees or user,
        document_kind=_KIND,
        document_path=path,
    )
    at = Cursor(RunId(before)) if before else None
    page = engine.records.autocommit(
        lambda tx: tx.overview.runs_page(wanted, at=at, limit=limit, counts=False)
    )
    ids = list({run.document_id for run in page.runs if run.document_id is not None})
    known = engine.records.autocommit(lambda tx: tx.overview.document_versions(ids))
    part = [
        models.InstanceHead.of(run, known[run.document_id]) for run in page.runs if run.document_id
    ]
    return models.InstanceList(
        instances=part, next=part[-1].id if page.has_older and part else None
    )


@router.get("/instances/{instance_id}")
def show(instance: InstanceHere) -> models.Instance:
    """Show an instance with its input, and its output when it is completed."""
    head = _head(instance.run)
    output = None
    if head.status is RunState.COMPLETED:
        output = json_data(instance.run.result(timeout=0)["result"])
    return models.Instance.of(
        head,
        instance.document,
        input_data=head.inputs.get("payload") or {},
        output_data=output,
        conversation_id=instance.document.metadata.get("conversation_id"),
    )


@router.get("/instances/{instance_id}/logs")
def logs(
    instance: InstanceHere,
    after: Annotated[int, Query(ge=0, lt=2**31, description="Only lines after so many.")] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_LINES)] = _MOST_LINES,
) -> models.Logs:
    """Return what has happened in an instance, a line for each event of its nodes."""
    events = replayed(bootstrap.engine(), instance.run.id).events[after : after + limit]
    lines = [
        f"{one.created_at:%Y-%m-%dT%H:%M:%S.%fZ} {one.event_type} {one.node_name} {one.status}"
        for one in events
    ]
    return models.Logs(instance_id=instance.run.id, lines=lines)


@router.post("/instances/{instance_id}/cancel")
def cancel(instance: InstanceHere, body: Reason | None = None) -> models.Cancelled:
    """Cancel an instance; one that is over does not change."""
    state = instance.run.cancel(body.reason if body else None)
    return models.Cancelled(instance_id=instance.run.id, status=state)


def _head(run: "Run[Any]") -> Any:
    """Return a run as it is now.

    Raises:
        RunNotFound: it was deleted a moment ago.
    """
    found = bootstrap.engine().records.autocommit(lambda tx: tx.runs.head(run.id))
    if found is None:
        raise RunNotFound(
            f"there is no instance {run.id}", hint="GET /api/v2/instances lists yours"
        )
    return found


# --- analytics ------------------------------------------------------------------------------------


@router.get("/blueprints/{blueprint_id}/analytics")
def analytics(blueprint_id: UUID, viewer: ViewerHere, days: _Days = _DAYS) -> models.BlueprintUsage:
    """Sum up the instances of a blueprint; who does not own it sees their own instances only."""
    engine = bootstrap.engine()
    document = catalogue.get(engine, blueprint_id, viewer)
    user = None if viewer.may_write(document) else viewer.user_id
    used = _used(engine, user, days, document.path)
    name = document.labels["name"]
    return models.BlueprintUsage.of(used, blueprint_id=document.id, name=name, days=days)


@router.get("/analytics/usage")
def usage(caller: CallerHere, days: _Days = _DAYS) -> models.AllUsage:
    """Sum up one's own instances, of admins those of everybody, by blueprint."""
    engine = bootstrap.engine()
    used = _used(engine, caller.sees, days)
    ids = [one.newest for one in used]
    known = engine.records.autocommit(lambda tx: tx.overview.document_versions(ids))
    each = [
        models.BlueprintUsage.of(
            [one], blueprint_id=one.newest, name=known[one.newest].labels["name"], days=days
        )
        for one in used
    ]
    return models.AllUsage.of(used, days=days, blueprints=each)


def _used(
    engine: Engine, user: str | None, days: int, path: str | None = None
) -> list[DocumentUsage]:
    since = clock.now() - timedelta(days=days)
    return engine.records.autocommit(
        lambda tx: tx.overview.document_usage(_KIND, path=path, user_id=user, since=since)
    )
