"""The route of what the steps of a run have logged."""

from itertools import islice
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query

from flowq import bootstrap
from flowq.engine.logs.reading import lines, log_filter
from flowq.entrypoints.http.bodies import StrictRoute
from flowq.entrypoints.http.problems import Refused, documented
from flowq.entrypoints.http.runs import models
from flowq.entrypoints.http.runs.access import RunHere

router = APIRouter(prefix="/api", tags=["runs"], route_class=StrictRoute)

#: Maximum lines in one answer.
_LINES: Final = 10_000


@router.get(
    "/runs/{run_id}/logs",
    responses=documented({403: "This server shows no contents: FLOWQ_SHOW_CONTENT."}),
)
def logs(
    *,
    run: RunHere,
    step: Annotated[models.Text | None, Query(description="Only of this step.")] = None,
    index: Annotated[int | None, Query(ge=0, lt=2**31, description="Of this item.")] = None,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31, description="Of this attempt.")] = None,
    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"] | None,
        Query(description="Only lines of at least this level."),
    ] = None,
    skip: Annotated[int, Query(ge=0, lt=2**31, description="Leave out the first lines.")] = 0,
    limit: Annotated[int, Query(ge=1, le=_LINES)] = 1_000,
) -> models.LogLines:
    """List what the steps of a run have logged so far, by time.

    While the run goes on, lines may be added between those that were read: workers write them about
    a second after they were logged.
    """
    if not bootstrap.settings().show_content:
        raise Refused(
            403,
            "ContentHidden",
            "logged lines are contents, which this server does not show",
            "set FLOWQ_SHOW_CONTENT=1, or use: flowq runs logs",
        )
    found = lines(bootstrap.engine(), run.id, log_filter(step, index, attempt, level))
    part = list(islice(found, skip, skip + limit + 1))
    shown = [models.LogLineShown.model_validate(line.as_json()) for line in part[:limit]]
    return models.LogLines(lines=shown, next=skip + limit if len(part) > limit else None)
