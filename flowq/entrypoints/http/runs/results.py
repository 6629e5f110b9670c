"""The results of steps of runs, sent as they are stored, of any size.

GET /api/runs/{run_id}/steps/{key}/result?path=/data/rows/0
"""

from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from flowq import bootstrap
from flowq.core.errors import RunNotFound, StepError
from flowq.core.ids import RunId
from flowq.core.references import Reference, follow
from flowq.core.results import StorageKind
from flowq.engine.advance.resolve import lookup
from flowq.engine.advance.step_results import StepResult, step_result
from flowq.entrypoints.http.problems import Refused, documented
from flowq.entrypoints.http.runs.access import RunHere
from flowq.entrypoints.http.runs.models import Text
from flowq.entrypoints.json_output import json_data

router = APIRouter(prefix="/api", tags=["runs"])


@router.get(
    "/runs/{run_id}/steps/{key:path}/result",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The result: JSON, or whatever the step has returned.",
            "content": {"application/json": {}},
        },
        **documented(
            {
                406: "The result, or an item of it, has no JSON form.",
                409: "The step has not completed.",
                410: "The store lost the result.",
            }
        ),
    },
)
def result_of_step(
    run: RunHere,
    key: Text,
    path: Annotated[
        Text | None,
        Query(description="A part: keys and indices, each after a slash (a JSON Pointer)."),
    ] = None,
) -> StreamingResponse:
    """Return the result of a step, in parts while it is read from its store.

    `flowq://RUN/KEY/PATH` in other answers names it.
    """
    try:
        found = step_result(bootstrap.engine(), run.id, key)
    except StepError as error:
        raise Refused(409, "NotCompleted", error.message) from error
    if found is None:
        raise RunNotFound(
            f"run {run.id} has no step {key!r}", hint=f"GET /api/runs/{run.id}/steps lists them"
        )
    if path:
        return _part(run.id, key, path)
    # What is missing is known before the answer begins.
    parts = chain([next(found.parts, b"")], found.parts)
    return StreamingResponse(parts, media_type=found.media_type, headers=_headers(found))


def _headers(found: StepResult) -> dict[str, str]:
    ref = found.ref
    if ref is None or ref.place is not StorageKind.OBJECT:
        return {}  # the database may have changed the white space of JSON
    return {"Content-Length": str(ref.size), "ETag": f'"{ref.sha256}"'}


def _part(run_id: RunId, key: str, path: str) -> StreamingResponse:
    whole = Reference(key)
    value = lookup(bootstrap.engine(), run_id, [whole])(whole)
    for name in path.removeprefix("/").split("/"):
        part = name.replace("~1", "/").replace("~0", "~")
        is_index = isinstance(value, list) and part.removeprefix("-").isdecimal()
        try:
            value = follow(value, (int(part) if is_index else part,), whole)
        except StepError as error:
            raise RunNotFound(error.message, hint=f"the path is {path}") from error
    data = to_json(json_data(value))
    return StreamingResponse(iter([data]), media_type="application/json")
