"""The routes of schedules.

A schedule is that of the user whose runs it starts, and is answered to others as one that does not
exist; those of nobody, as code declares most of them, are for admins. A route changes rows only:
the runs are started by a worker.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response

from flowq import bootstrap
from flowq.core.errors import FlowNotFound, InvalidInput, ScheduleNotFound
from flowq.core.names import is_own
from flowq.core.schedules.spec import ScheduleSpec, checked
from flowq.engine.engine import Engine
from flowq.engine.model.schedules import StoredSchedule
from flowq.engine.queries.schedules import ListedSchedule
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.registry.user_errors import user_errors
from flowq.engine.runs.preparing import input_limit
from flowq.engine.schedules import control
from flowq.entrypoints.http.bodies import StrictRoute
from flowq.entrypoints.http.problems import Refused, documented
from flowq.entrypoints.http.runs.access import CallerHere
from flowq.entrypoints.http.runs.flows import known_flow
from flowq.entrypoints.http.runs.models import Text
from flowq.entrypoints.http.schedules import models

router = APIRouter(prefix="/api/schedules", tags=["schedules"], route_class=StrictRoute)

#: Runs and skipped ticks that are shown of a schedule.
_SHOWN: Final = 20
_MAX_TICKS: Final = 1_000

Name = Annotated[Text, Path(description="The name of a schedule; it may have slashes.")]


def _visible(name: Name, caller: CallerHere) -> StoredSchedule:
    """Return the schedule of a path.

    Raises:
        ScheduleNotFound: there is none, or the caller may not see it.
    """
    found = bootstrap.engine().records.autocommit(lambda tx: tx.schedules.find(name))
    if found is None or not caller.may_see(models.owner_of(found)):
        raise _not_found(name)
    return found


#: The schedule of the path, which the caller may see.
ScheduleHere = Annotated[StoredSchedule, Depends(_visible)]


def _not_found(name: str) -> ScheduleNotFound:
    return ScheduleNotFound(
        f"there is no schedule {name!r}", hint="GET /api/schedules lists your schedules"
    )


@router.get("")
def list_schedules(
    caller: CallerHere,
    after: Annotated[Text | None, Query(description="Only greater names.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> models.ScheduleList:
    """List schedules, by name."""
    found = bootstrap.engine().records.autocommit(
        lambda tx: tx.overview.schedules(after=after or "", limit=limit + 1, user_id=caller.sees)
    )
    shown = [models.ScheduleSummary.of(one) for one in found[:limit]]
    return models.ScheduleList(schedules=shown, next=shown[-1].name if len(found) > limit else None)


# The paths with a further part come first: a name may have slashes.


@router.get("/{name:path}/ticks")
def ticks(
    schedule: ScheduleHere, count: Annotated[int, Query(ge=1, le=_MAX_TICKS)] = 10
) -> models.Ticks:
    """List the next ticks of a schedule, also those of a paused one."""
    listed = _listed(schedule.spec.name)
    zone = listed.schedule.spec.zone
    return models.Ticks(ticks=[tick.astimezone(zone) for tick in listed.coming(count)])


@router.get("/{name:path}")
def show(schedule: ScheduleHere) -> models.ScheduleDetails:
    """Show a schedule: its rules, next ticks, last runs and skipped ticks."""
    return _details(schedule.spec.name)


@router.put(
    "/{name:path}",
    responses={
        201: {"model": models.ScheduleDetails, "description": "The schedule is added."},
        **documented({409: "Code declares it, or it is the schedule of another user."}),
    },
)
def put(
    name: Name, new: models.NewSchedule, caller: CallerHere, response: Response
) -> models.ScheduleDetails:
    """Add a schedule, or replace the definition of one; its next tick is counted from now."""
    engine = bootstrap.engine()
    flow = _target(new.flow_name)
    with user_errors(flow):
        spec = checked(new.spec(name, flow, caller.user_id, input_limit(engine)))

    def instead_of(found: StoredSchedule) -> ScheduleSpec:
        owner = models.owner_of(found)
        if not caller.may_see(owner):
            text = "a schedule of another user has this name"
            raise Refused(409, "NameTaken", text, "put the user into the name")
        if found.declared_in is not None:
            text = f"schedule {name!r} is declared by code, which alone changes it"
            raise Refused(409, "ScheduleDeclared", text, "choose another name")
        options = spec.options.model_copy(update={"user_id": owner})
        return spec.model_copy(update={"options": options})

    if control.put(engine, spec, instead_of):
        response.status_code = 201
    return _details(name)


@router.delete("/{name:path}/backfill")
def cancel_backfill(schedule: ScheduleHere) -> models.ScheduleDetails:
    """Start no further runs of a backfill; those that it has started go on."""
    return _changed(control.cancel_backfill, schedule)


@router.delete("/{name:path}")
def remove(schedule: ScheduleHere) -> models.ScheduleDetails:
    """Delete a schedule; its runs stay. The answer is how it was.

    If code declares it, the next worker that starts records it again.
    """
    shown = _details(schedule.spec.name)
    control.remove(bootstrap.engine(), schedule.spec.name)
    return shown


@router.post("/{name:path}/pause")
def pause(schedule: ScheduleHere) -> models.ScheduleDetails:
    """Pause a schedule: it starts no run until it is resumed, but a requested one."""
    return _changed(control.pause, schedule)


@router.post("/{name:path}/resume")
def resume(schedule: ScheduleHere) -> models.ScheduleDetails:
    """Resume a paused schedule, with the first tick from now."""
    return _changed(control.resume, schedule)


@router.post("/{name:path}/run", status_code=202)
def run(schedule: ScheduleHere) -> models.ScheduleDetails:
    """Request a run now, beside the ticks; while one is requested, that is the same request."""
    return _changed(control.request_run, schedule)


@router.post("/{name:path}/backfill", status_code=202)
def backfill(schedule: ScheduleHere, span: models.Span) -> models.Backfill:
    """Start the runs of the past ticks of a span, the oldest first.

    Ticks that have a run are left out, so it is safe to repeat.
    """
    engine, name = bootstrap.engine(), schedule.spec.name
    last = span.last or datetime.now(UTC)
    _, found = control.backfill_ticks(engine, name, span.first, last)
    control.backfill(engine, name, span.first, last)
    return models.Backfill(ticks=len(found), first=found[0], last=found[-1])


def _target(flow_name: str) -> RegisteredFlow:
    """Return the flow that a schedule is to run.

    Raises:
        InvalidInput: it is a program of flowq, in which documents run.
        FlowNotFound: this server has not imported it.
    """
    if is_own(flow_name):
        raise InvalidInput(
            f"a schedule runs a flow, and {flow_name!r} is a program of flowq that runs documents",
            hint="start the playbook or workflow from a step of a flow, and schedule that flow",
        )
    try:
        return known_flow(flow_name)
    except FlowNotFound as error:
        raise InvalidInput(error.message, hint=error.hint) from None


def _changed(
    change: Callable[[Engine, str], StoredSchedule], schedule: StoredSchedule
) -> models.ScheduleDetails:
    change(bootstrap.engine(), schedule.spec.name)
    return _details(schedule.spec.name)


def _listed(name: str) -> ListedSchedule:
    found = bootstrap.engine().records.autocommit(lambda tx: tx.overview.schedules(names=[name]))
    if not found:
        raise _not_found(name)
    return found[0]


def _details(name: str) -> models.ScheduleDetails:
    listed = _listed(name)
    runs, skipped = bootstrap.engine().records.autocommit(
        lambda tx: (
            tx.overview.runs_of_schedule(name, limit=_SHOWN),
            tx.overview.skipped_ticks(name, limit=_SHOWN),
        )
    )
    content = bootstrap.settings().show_content
    return models.ScheduleDetails.with_all(listed, runs, skipped, shows_content=content)
