"""The routes of executions: what has happened in them, read from the rows of their runs.

    GET  /api/executions/{id}/status, /events, /steps/{name}, /commands, /cancellation-check
    POST /api/executions/{id}/cancel
    GET  /api/vars/{id}, /api/vars/{id}/{name}

State and log are those that the program of the run comes to when it is replayed: as far as it has
observed what has happened.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from flowq import bootstrap
from flowq.client import Run
from flowq.core.errors import RunNotFound
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.model.rows import RunView
from flowq.entrypoints.http.playbooks import models
from flowq.entrypoints.http.playbooks.access import Execution, ExecutionHere
from flowq.entrypoints.http.runs.models import Text
from flowq.playbooks.running.answers import Answers
from flowq.playbooks.running.external import open_commands
from flowq.playbooks.running.log import Replayed, replayed

router = APIRouter(prefix="/api", tags=["executions"])

_MOST_EVENTS = 10_000
_FAILED = frozenset({RunState.FAILED, RunState.CANCELLED})


@router.get("/executions/{execution_id}/status")
def status(execution: ExecutionHere) -> models.ExecutionStatus:
    """Show where an execution is."""
    view, state = _head(execution), _replayed(execution).state
    active = [one.step for one in state.activations.values()]
    return models.ExecutionStatus(
        execution_id=execution.id,
        run_id=view.id,
        current_step=active[-1] if active and view.status not in TERMINAL_RUN_STATES else None,
        completed_steps=list(state.step_results),
        failed=view.status in _FAILED,
        completed=view.status is RunState.COMPLETED,
        variables=_answers(execution).values(state.ctx),
    )


@router.get("/executions/{execution_id}/events")
def events(
    execution: ExecutionHere,
    after: Annotated[int, Query(ge=0, lt=2**31, description="Only events of higher ids.")] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_EVENTS)] = _MOST_EVENTS,
) -> models.EventLog:
    """Return the log of an execution."""
    part = _answers(execution).events(_replayed(execution).events[after : after + limit])
    found = [models.LoggedEvent.of(one) for one in part]
    return models.EventLog(events=found)


@router.get("/executions/{execution_id}/steps/{name}")
def step(execution: ExecutionHere, name: Annotated[Text, Path()]) -> models.StepResult:
    """Return the result of a step that has ended; of several times, the last."""
    results = _replayed(execution).state.step_results
    if name not in results:
        raise RunNotFound(f"step {name!r} of execution {execution.id} has no result")
    return models.StepResult(step=name, result=_shown(execution, results[name]))


@router.get("/executions/{execution_id}/commands")
def commands(execution: ExecutionHere) -> models.OpenCommands:
    """List the calls of `external` steps that wait for an event `call.done` or `call.error`."""
    done = _replayed(execution)
    if done.control is None or _head(execution).status in TERMINAL_RUN_STATES:
        return models.OpenCommands(commands=[])
    found = [
        models.OpenCommand(
            execution_id=execution.id, command_id=one.id, step=one.step, attempt=one.attempt
        )
        for one in open_commands(done.control)
    ]
    return models.OpenCommands(commands=found)


@router.get("/executions/{execution_id}/cancellation-check")
def cancellation_check(execution: ExecutionHere) -> models.CancellationCheck:
    """Say whether an execution was cancelled, or is being cancelled."""
    now = _head(execution).status
    cancelled = now in (RunState.CANCELLING, RunState.CANCELLED)
    return models.CancellationCheck(execution_id=execution.id, cancelled=cancelled, status=now)


@router.post("/executions/{execution_id}/cancel")
def cancel(execution: ExecutionHere, body: models.Cancellation | None = None) -> models.Cancelled:
    """Cancel an execution, and those that it has started."""
    before = _head(execution).status
    if before in TERMINAL_RUN_STATES:
        said = f"the execution is finished: it is {before}"
        return models.Cancelled(status="error", execution_id=execution.id, message=said)
    page = bootstrap.engine().records.autocommit(lambda tx: tx.overview.run_page(execution.run.id))
    children = [str(child.id) for child in page.children] if page is not None else []
    execution.run.cancel(body.reason if body else None)
    return models.Cancelled(
        status="cancelled",
        execution_id=execution.id,
        cancelled_executions=[execution.id, *children],
        message=f"{1 + len(children)} execution(s) cancelled",
    )


@router.get("/vars/{execution_id}")
def variables(execution: ExecutionHere) -> models.Variables:
    """Return the variables of an execution."""
    found = _answers(execution).values(_replayed(execution).state.ctx)
    return models.Variables(execution_id=execution.id, variables=found)


@router.get("/vars/{execution_id}/{name}")
def variable(execution: ExecutionHere, name: Annotated[Text, Path()]) -> models.Variable:
    """Return a variable of an execution."""
    found = _replayed(execution).state.ctx
    if name not in found:
        raise RunNotFound(f"execution {execution.id} has no variable {name!r}")
    return models.Variable(name=name, value=_shown(execution, found[name]))


def _replayed(execution: Execution) -> Replayed:
    return replayed(bootstrap.engine(), execution.run.id)


def _head(execution: Execution) -> RunView:
    """Return the run of an execution as it is now.

    Raises:
        RunNotFound: it was deleted a moment ago.
    """
    run: Run[Any] = execution.run
    found = bootstrap.engine().records.autocommit(lambda tx: tx.runs.head(run.id))
    if found is None:
        raise RunNotFound(f"there is no execution {execution.id}")
    return found


def _shown(execution: Execution, value: Any) -> Any:
    """Return JSON, in which large results are named."""
    return _answers(execution).value(value)


def _answers(execution: Execution) -> Answers:
    return Answers(bootstrap.engine(), execution.run.id)
