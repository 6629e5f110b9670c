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
from flowq.entrypoints.http.problems import Refused


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


def refuse_others(run_id: RunId, caller: Caller, *, has_key: bool = False) -> None:
    """Do not reveal the run of another user: of the same idempotency key, or in flight."""
    known = bootstrap.engine().records.autocommit(lambda tx: tx.runs.stand_in(run_id))
    if known is None or caller.may_see(known.user_id):
        return
    if has_key:
        raise Refused(
            409,
            "IdempotencyKeyTaken",
            "a run of another user has this idempotency_key",
            "put the user into the key",
        )
    raise Refused(
        409,
        "InFlight",
        "a run of another user is in flight, and the flow lets no other run begin",
        "try again when it is finished",
    )
