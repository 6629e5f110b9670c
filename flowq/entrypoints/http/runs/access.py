"""The runs that a caller may see: a run of another user is answered as one that does not exist."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path

from flowq import bootstrap
from flowq.client import Run
from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.engine.model.actions import Face
from flowq.engine.runs.actors import act_as
from flowq.entrypoints.http.auth import Caller, caller


async def acting_caller(found: Annotated[Caller, Depends(caller)]) -> Caller:
    """Return who sends the request, and record what the request does to runs as theirs.

    It is a coroutine: what it sets in the context of the request holds in the route too.
    """
    act_as(Face.HTTP, found.user_id)
    return found


#: Who sends the request.
CallerHere = Annotated[Caller, Depends(acting_caller)]


def visible(run_id: Annotated[UUID, Path()], caller: CallerHere) -> "Run[object]":
    """Return the run of a path.

    Raises:
        RunNotFound: there is none, or the caller may not see it.
    """
    known = bootstrap.engine().records.autocommit(lambda tx: tx.runs.stand_in(RunId(run_id)))
    if known is None or not caller.may_see(known.user_id):
        raise RunNotFound(f"there is no run {run_id}", hint="GET /api/runs lists your runs")
    return Run(RunId(run_id), known.flow_name)


#: The run of the path, which the caller may see.
RunHere = Annotated[Run[object], Depends(visible)]
