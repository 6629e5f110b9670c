"""The routes to start, list, follow and control the runs of every flow.

Handlers that use the database are plain functions, which the server runs in threads. Handlers that
wait are coroutines and hold no thread.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import JsonValue

from flowq import bootstrap, client
from flowq.client.event_log import Entry
from flowq.core.errors import FlowqError, ResultTimeout, RunCancelled, RunFailed, RunNotFound
from flowq.core.events import NAMES, Event, to_json
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.events.follow import position
from flowq.engine.queries.lists import Cursor, RunFilter
from flowq.engine.registry.user_errors import user_errors
from flowq.engine.runs.options import SubmitOptions
from flowq.entrypoints.http.bodies import StrictRoute
from flowq.entrypoints.http.problems import documented
from flowq.entrypoints.http.runs import models
from flowq.entrypoints.http.runs.access import CallerHere, RunHere, refuse_others
from flowq.entrypoints.http.runs.flows import known_flow, visible_flows
from flowq.entrypoints.http.sse import RETRY, EventStream, frame, frame_followers
from flowq.entrypoints.json_output import json_data

router = APIRouter(prefix="/api", tags=["runs"], route_class=StrictRoute)

#: Maximum steps in one answer.
_STEPS: Final = 500
#: Maximum seconds that a request for a result waits.
_WAIT: Final = 60.0


@router.get("/flows")
def list_flows(caller: CallerHere) -> models.FlowList:  # noqa: ARG001 - anybody who is let in
    """List the flows that this server may start, with the JSON Schemas of their inputs."""
    return models.FlowList(flows=list(visible_flows()))


@router.post(
    "/flows/{name:path}/runs",
    status_code=202,
    responses=documented({409: "A run of another user has this key, or is in flight."}),
)
def start(
    name: str, new: models.NewRun, caller: CallerHere, response: Response
) -> models.RunStatus:
    """Start a run of a flow."""
    flow = known_flow(name)
    options: SubmitOptions = {
        "user_id": caller.user_id,
        "metadata": new.metadata,
        "idempotency_key": new.idempotency_key,
        "deadline": timedelta(seconds=new.deadline_seconds) if new.deadline_seconds else None,
        "budget": new.budget.budget if new.budget else None,
        "priority": new.priority,
        "delay": timedelta(seconds=new.delay_seconds) if new.delay_seconds else None,
        "at": new.at,
    }
    with user_errors(flow):
        run = client.submit(flow, new.inputs, **options)
    has_key = new.idempotency_key is not None
    if has_key or flow.queueing is not None:
        refuse_others(run.id, caller, has_key=has_key)
    response.headers["Location"] = f"/api/runs/{run.id}"
    return _status(run)


@router.get("/runs")
def list_runs(
    *,
    caller: CallerHere,
    flow: Annotated[models.Text | None, Query(description="Only runs of this flow.")] = None,
    status: Annotated[list[RunState] | None, Query(description="Only in these states.")] = None,
    user: Annotated[models.Text | None, Query(description="Of this user; for admins.")] = None,
    children: Annotated[bool, Query(description="Also child runs.")] = False,
    catalog_id: Annotated[UUID | None, Query(description="Of this stored document.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[UUID | None, Query(description="Only runs older than this one.")] = None,
) -> models.RunList:
    """List runs, the newest first."""
    wanted = RunFilter(
        states=frozenset(status or ()),
        flow_name=flow,
        user_id=caller.sees or user,
        children=children,
        document_id=catalog_id,
    )
    at = Cursor(RunId(before)) if before else None
    page = bootstrap.engine().records.autocommit(
        lambda tx: tx.overview.runs_page(wanted, at=at, limit=limit)
    )
    following = page.runs[-1].id if page.has_older and page.runs else None
    return models.RunList(runs=[models.RunSummary.of(run) for run in page.runs], next=following)


@router.get("/runs/{run_id}")
def show(run: RunHere) -> models.RunDetails:
    """Show a run, and the first of its steps."""
    engine = bootstrap.engine()
    page = engine.records.autocommit(lambda tx: tx.overview.run_page(run.id))
    if page is None:
        raise RunNotFound(f"there is no run {run.id}")
    part = steps(run)
    content = bootstrap.settings().show_content
    return models.RunDetails.of(
        page.run,
        rerun_of=page.run.rerun_of,
        continued_as=page.run.continued_as,
        inputs=page.run.inputs if content else None,
        outputs=page.run.outputs if content else None,
        steps=part.steps,
        next_step=part.next,
    )


@router.get("/runs/{run_id}/steps")
def steps(
    run: RunHere,
    after: Annotated[
        int | None, Query(ge=0, lt=2**31, description="Only steps of a higher order.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=_STEPS)] = _STEPS,
) -> models.StepList:
    """List the steps of a run, in their order."""
    found = bootstrap.engine().records.autocommit(
        lambda tx: tx.overview.steps(run.id, limit=limit + 1, after=after)
    )
    part = [models.StepSummary.of(step) for step in found[:limit]]
    return models.StepList(steps=part, next=part[-1].order if len(found) > limit else None)


@router.get(
    "/runs/{run_id}/result",
    responses={
        202: {"model": models.RunStatus, "description": "The run is not finished."},
        409: {"model": models.RunFailure, "description": "It failed, or was cancelled."},
        **documented({406: "The result has no JSON form.", 410: "The store lost the result."}),
    },
    response_model=models.RunResult,
)
async def result(
    run: RunHere,
    wait: Annotated[float, Query(ge=0, le=_WAIT, description="Seconds to wait for it.")] = 0,
) -> Any:
    """Return the result of a run, or of the run as which it continues."""
    try:
        value = await run.aresult(timeout=wait)
    except ResultTimeout:
        status = await asyncio.to_thread(_status, run)
        return JSONResponse(status.model_dump(mode="json"), 202)
    except (RunFailed, RunCancelled) as error:
        ended = await asyncio.to_thread(_failure, run, error)
        return JSONResponse(ended.model_dump(mode="json", exclude_none=True), 409)
    return JSONResponse({"result": await asyncio.to_thread(json_data, value)})


# --- events ---------------------------------------------------------------------------------------


def _frames(event: Event) -> Iterable[Entry[bytes]]:
    yield frame(str(event.id), to_json(event), event.event_type)


_FOLLOWERS: Final = frame_followers(lambda _: _frames)


@router.get(
    "/runs/{run_id}/events",
    status_code=200,
    response_class=EventStream,
    responses={
        200: {
            "description": "Server-sent events until the run is finished. `id` is the id of the "
            f"event, `event` one of {', '.join(NAMES.values())}.",
            "content": {"text/event-stream": {}},
        },
        204: {"description": "Nothing follows after this event: do not reconnect."},
    },
)
def events(
    run: RunHere,
    last_event_id: Annotated[str | None, Header(description="Continue after this event.")] = None,
) -> Response:
    """Follow what happens in a run.

    After `Last-Event-ID` no event is repeated and none is lost. If Redis has lost the stream, all
    events are sent again: at `WORKFLOW_STARTED` forget the earlier ones.
    """
    if last_event_id == "end":
        return Response(status_code=204)
    if last_event_id:
        position(last_event_id)
    return EventStream(_FOLLOWERS, run.id, last_event_id or None, begin=RETRY)


# --- control --------------------------------------------------------------------------------------


@router.post("/runs/{run_id}/cancel")
def cancel(run: RunHere, body: models.Reason | None = None) -> models.RunStatus:
    """Cancel a run and its child runs; runs that have ended do not change."""
    state = run.cancel(body.reason if body else None)
    return models.RunStatus(id=run.id, flow_name=run.flow_name, status=state)


@router.post("/runs/{run_id}/pause")
def pause(run: RunHere, body: models.Reason | None = None) -> models.RunStatus:
    """Pause a run and its child runs: no step begins until they are resumed."""
    state = run.pause(body.reason if body else None)
    return models.RunStatus(id=run.id, flow_name=run.flow_name, status=state)


@router.post("/runs/{run_id}/resume")
def resume(run: RunHere) -> models.RunStatus:
    """Resume a paused run."""
    return models.RunStatus(id=run.id, flow_name=run.flow_name, status=run.resume())


@router.post(
    "/runs/{run_id}/signals/{name:path}",
    responses=documented({409: "The run takes no signals, or is finished."}),
)
def signal(
    run: RunHere, name: str, payload: Annotated[JsonValue, Body()] = None
) -> models.RunStatus:
    """Send a run a signal, which its flow receives with `flowq.signal(name)`."""
    run.send_signal(name, payload)
    return _status(run)


def _status(run: "client.Run[Any]") -> models.RunStatus:
    return models.RunStatus(id=run.id, flow_name=run.flow_name, status=run.status)


def _failure(run: "client.Run[Any]", error: FlowqError) -> models.RunFailure:
    return models.RunFailure(
        error=type(error).__name__,
        message=error.message,
        hint=f"GET /api/runs/{run.id} shows its steps, with their errors",
        status=run.newest.status,
    )
