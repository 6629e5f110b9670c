"""The routes of v1 and v2.

    POST /send_data              a document becomes a task
    GET  /get_data/{task_id}     its frames
    GET  /task_status/{task_id}  its status
    …    /v2/send_data, /v2/get_data/{task_id}
    …    /task, /task/{task_id}/stream, /task/{task_id}/status
    GET  /v2/blocks/{key}/…      the manifest and the chunks of an external block
    GET  /v2/schema              the JSON Schema of a document

A task is a run. Its state is not in this process: `flowq.blocks` records and reads it.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from flowq import bootstrap
from flowq.blocks.document import Document, parse
from flowq.blocks.reports.events import TYPES
from flowq.blocks.storage import layout
from flowq.blocks.submitting import start
from flowq.blocks.tasks import Task
from flowq.client import Run
from flowq.engine.ports import ObjectStore
from flowq.entrypoints.http.auth import Role
from flowq.entrypoints.http.blocks.streams import Kind, TaskStreams
from flowq.entrypoints.http.blocks.usage import check
from flowq.entrypoints.http.problems import Refused
from flowq.entrypoints.http.runs.access import CallerHere

router = APIRouter(tags=["blocks"])

_PART: Final = re.compile(r"manifest\.json|chunk_\d{6,9}\.(?:jsonl|txt|bin)")
_MEDIA_TYPES: Final = {
    "json": "application/json",
    "jsonl": "application/jsonl",
    "txt": "text/plain",
    "bin": "application/octet-stream",
}


class Accepted(BaseModel):
    """A task that was started."""

    task_id: str
    user_id: str


class AcceptedV2(Accepted):
    """A task that was started, and its size."""

    created_at: datetime
    blocks_count: int
    edges_count: int
    estimated_usage: int = Field(description="What it counts in quotas: one for each edge.")


class TaskStatus(BaseModel):
    """The status of a task."""

    task_id: str
    status: Literal["PENDING", "RUNNING", "COMPLETED", "FAILED"]
    start_time: datetime | None
    end_time: datetime | None
    error_message: str | None
    total_blocks: int
    processed_blocks: int
    progress_percentage: float


class TaskStatusV2(TaskStatus):
    """The status of a task, and when that was read."""

    api_version: Literal["v2"] = "v2"
    retrieved_at: datetime


async def _body(request: Request) -> bytes:
    return await request.body()


def _streams(request: Request) -> TaskStreams:
    found: TaskStreams = request.app.state.task_streams
    return found


#: What a request is, in the routes below.
Body = Annotated[bytes, Depends(_body)]
StreamsHere = Annotated[TaskStreams, Depends(_streams)]
LastEventId = Annotated[str | None, Header(description="Continue after this event.")]

_DOCUMENT: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
        "description": "A document of blocks and edges, see /v2/schema.",
    }
}
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The document cannot run: `code` says why, `message` names all places."},
    409: {"description": "The document names the content of another user."},
    429: {"description": "The document has more edges than the user's quota."},
}


def _events(text: str, **parts: Any) -> dict[int | str, dict[str, Any]]:
    """Return the description of a stream whose frames have these parts beside `data`."""
    data = {"type": "string", "contentMediaType": "application/json"}
    frame = {"type": "object", "properties": {**parts, "data": data}, "required": ["data"]}
    return {200: {"description": text, "content": {"text/event-stream": {"itemSchema": frame}}}}


def _start(request: Request, body: bytes, caller: CallerHere) -> tuple[Run[Any], Document, int]:
    """Start a task; return its run, its document, and its count."""
    document, warnings = parse(body)
    counted = check(request.app.state.usage, caller.user_id, len(document.edges))
    return start(document, warnings, user_id=caller.user_id), document, counted


# --- v1 ------------------------------------------------------------------------------------------


@router.post("/send_data", status_code=202, responses=_REFUSED, openapi_extra=_DOCUMENT)
def send_data(request: Request, body: Body, caller: CallerHere) -> Accepted:
    """Start a task from a document."""
    run, _, _ = _start(request, body, caller)
    return Accepted(task_id=str(run.id), user_id=caller.user_id)


@router.get(
    "/get_data/{task_id}",
    response_class=Response,
    responses=_events("Frames of data, and one with `is_complete` that ends the stream."),
)
def get_data(task_id: str, caller: CallerHere, streams: StreamsHere) -> Response:
    """Follow a task: a frame for each level of its edges, then the end.

    Every reader gets the same frames, from the first on, at any time. An error is a frame too: the
    status is 200.
    """
    return streams.answer(Kind.V1, task_id, caller)


@router.get("/task_status/{task_id}")
def task_status(task_id: str, caller: CallerHere) -> TaskStatus:
    """Return the status of a task."""
    return TaskStatus(**_task(task_id, caller).status())


# --- v2 ------------------------------------------------------------------------------------------


@router.post("/v2/send_data", status_code=202, responses=_REFUSED, openapi_extra=_DOCUMENT)
@router.post("/task", status_code=202, responses=_REFUSED, openapi_extra=_DOCUMENT)
def send_data_v2(request: Request, body: Body, caller: CallerHere) -> AcceptedV2:
    """Start a task from a document."""
    run, document, counted = _start(request, body, caller)
    row = bootstrap.engine().records.autocommit(lambda tx: tx.runs.head(run.id))
    return AcceptedV2(
        task_id=str(run.id),
        user_id=caller.user_id,
        created_at=row.created_at if row is not None else datetime.now(UTC),  # deleted already
        blocks_count=len(document.blocks),
        edges_count=len(document.edges),
        estimated_usage=counted,
    )


_TYPED: Final = _events(
    "Server-sent events until the task is finished; `event` is the type, `id` where to continue.",
    event={"type": "string", "enum": list(TYPES)},
    id={"type": "string"},
) | {204: {"description": "Nothing follows after this event: do not reconnect."}}


@router.get("/v2/get_data/{task_id}", response_class=Response, responses=_TYPED)
def get_data_v2(
    task_id: str, caller: CallerHere, streams: StreamsHere, last_event_id: LastEventId = None
) -> Response:
    """Follow all events of a task: of edges and blocks at once, of levels in their order.

    After `Last-Event-ID` no event is repeated and none is lost. If that is impossible, all events
    are sent again: at `WORKFLOW_STARTED` forget the earlier ones.
    """
    return streams.answer(Kind.V2, task_id, caller, last_event_id)


@router.get("/task/{task_id}/stream", response_class=Response, responses=_TYPED)
def stream_task(
    task_id: str, caller: CallerHere, streams: StreamsHere, last_event_id: LastEventId = None
) -> Response:
    """Follow all events of a task, as `/v2/get_data`; with `TASK_…` in place of `WORKFLOW_…`."""
    return streams.answer(Kind.TASK, task_id, caller, last_event_id)


@router.get("/task/{task_id}/status")
def status_v2(task_id: str, caller: CallerHere) -> TaskStatusV2:
    """Return the status of a task."""
    found = _task(task_id, caller).status()
    return TaskStatusV2(**found, retrieved_at=datetime.now(UTC))


def _task(task_id: str, caller: CallerHere) -> Task:
    return Task.find(bootstrap.engine(), task_id, caller.sees)


# --- contents ------------------------------------------------------------------------------------


@router.head("/v2/blocks/{user}/{block}/{version}/{part}", include_in_schema=False)
@router.get(
    "/v2/blocks/{user}/{block}/{version}/{part}",
    response_class=Response,
    responses={200: {"description": "The bytes.", "content": {"application/octet-stream": {}}}},
)
def content(
    *, request: Request, user: str, block: str, version: str, part: str, caller: CallerHere
) -> Response:
    """Return the manifest, or a chunk, of an external block; the first four parts are its key."""
    key = f"{user}/{block}/{version}"
    is_users = caller.role is Role.ADMIN or layout.is_users(key, caller.user_id)
    store, place = bootstrap.engine().results.objects, layout.object_key(key, part)
    size = _size(store, place) if is_users and _PART.fullmatch(part) else None
    if size is None:
        raise Refused(404, "NotFound", f"there is no {part} of the block {key}")
    headers = {"X-Content-Type-Options": "nosniff", "Content-Length": str(size)}
    media_type = _MEDIA_TYPES[part.rpartition(".")[2]]
    if request.method == "HEAD":
        return Response(headers=headers, media_type=media_type)
    return StreamingResponse(store.stream(place), headers=headers, media_type=media_type)


def _size(store: ObjectStore, key: str) -> int | None:
    try:
        return store.size(key)
    except ValueError:
        return None  # it is not a key


@router.get("/v2/schema")
def schema() -> dict[str, Any]:
    """Return the JSON Schema of a document."""
    return Document.model_json_schema()
