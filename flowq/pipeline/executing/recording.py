"""Runs a program of pipelines as a recorded run: here, on workers, or as a child of a program.

How it ended is read from its rows in the same way everywhere. A failure is raised as the node's own
exception where this process has it; else as `NodeFailed`, which has the name of its class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias, cast
from uuid import UUID

from flowq.authoring.calls.tracing import active
from flowq.authoring.definitions.flows import AsyncFlow
from flowq.authoring.definitions.steps import step
from flowq.client import Run
from flowq.client.submitting import aexecute, asubmit, ended_or_cancelled
from flowq.core.errors import InvalidInput, RunCancelled, StepFailed
from flowq.core.ids import RunId, StepRunId, child_run_id, node_id
from flowq.core.states import RunState, StepState
from flowq.core.usage import in_digits
from flowq.engine.model.rows import RunView
from flowq.engine.replay.execution import Execution
from flowq.engine.runs.options import SubmitOptions
from flowq.engine.runtime.context import current as current_step
from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.errors import NodeFailed, NotExecutable

#: Where a run is carried out: by threads of this process, or by workers.
Place: TypeAlias = Literal["here", "workers"]
PLACES: Final = ("here", "workers")
#: What the metadata of a run of this face says of it.
FACE: Final = "pipeline"


@dataclass(frozen=True)
class Ended:
    """A run that has completed.

    Attributes:
        value: What its program has returned.
        tokens: What calls of models have used in it,
        cost: and what they have cost, in USD.
    """

    value: dict[str, Any]
    tokens: int = 0
    cost: float = 0.0


async def run_recorded(
    program: AsyncFlow[..., dict[str, Any]],
    inputs: Mapping[str, Any],
    context: ExecutionContext,
    place: Place,
) -> Ended:
    """Run a program and return how it has ended.

    Raises:
        NotExecutable: the inputs cannot be stored.
        RunCancelled: someone has cancelled the run.
        Exception: a node's own, or `NodeFailed`.
    """
    if active() is not None:
        return await _called(program, inputs)
    options = options_of(context)
    errors: Mapping[StepRunId, BaseException] = {}
    try:
        if place == "workers":
            begin = asubmit(program.type, inputs, **options)
            run = await ended_or_cancelled(begin, Run.await_end)
        else:
            run, errors = await aexecute(program.type, inputs, **options)
    except InvalidInput as error:
        raise NotExecutable(error.message, hint=error.hint) from error
    view = await run.aview()
    if view.status is not RunState.COMPLETED:
        raise _error(_outcome(view), errors)
    return Ended(await cast(Run[dict[str, Any]], run).aresult(), view.tokens, float(view.cost))


def options_of(context: ExecutionContext) -> SubmitOptions:
    """Return the options of a run of a context."""
    about = {"workflow_id": context.workflow_id, "conversation_id": context.conversation_id}
    known = {name: value for name, value in about.items() if value is not None}
    return {"user_id": context.user_id or None, "metadata": {"face": FACE, **known}}


# --- in a program --------------------------------------------------------------------------------


@step(name="flowq.pipeline.outcome")
def outcome(run_id: str) -> dict[str, Any]:
    """Return what a run has used, and how it failed if it did; recorded for replays."""
    look = current_step().view
    assert look is not None
    view = look(RunId(UUID(run_id)))
    return {} if view is None else _outcome(view)


async def _called(program: AsyncFlow[..., dict[str, Any]], inputs: Mapping[str, Any]) -> Ended:
    """Run it as a child run of the program that runs here, or as plain Python with it."""
    here = active()
    try:
        value = await program(**inputs)
    except StepFailed as error:
        if not isinstance(here, Execution):
            raise NodeFailed(error.step, error.error, error.reason, None) from error
        child = child_run_id(node_id(here.run_id, error.step))
        raise _error(await _read(str(child)), {}) from error
    if not isinstance(here, Execution):
        return Ended(value)
    used = await _read(value["run_id"])
    return Ended(value, used.get("tokens", 0), float(used.get("cost", 0)))


async def _read(run_id: str) -> dict[str, Any]:
    awaitable: Any = outcome.options(key="outcome")(run_id)
    found: dict[str, Any] = await awaitable
    return found


# --- how a run has ended -------------------------------------------------------------------------


def _outcome(view: RunView) -> dict[str, Any]:
    """Return what a run has used and how it has ended, as JSON data."""
    found: dict[str, Any] = {
        "run_id": str(view.id),
        "tokens": view.tokens,
        "cost": in_digits(view.cost),
        "status": str(view.status),
        "reason": view.error or "no reason was recorded",
    }
    failed = [one for one in view.steps if one.status is StepState.FAILED and one.called]
    if failed:
        # The last to fail is the one that the program did not handle.
        last = max(failed, key=lambda one: (one.completed_at is not None, one.completed_at))
        found |= {"node": last.key, "error": last.error_type, "reason": last.error_message or ""}
    return found


def _error(found: Mapping[str, Any], errors: Mapping[StepRunId, BaseException]) -> BaseException:
    """Return the error of a run that has failed, or was cancelled."""
    if found.get("status") == RunState.CANCELLED:
        said, run_id = found["reason"], found["run_id"]
        return RunCancelled(f"run {run_id} cancelled: {said}", hint=f"flowq runs show {run_id}")
    run_id, node = found.get("run_id"), found.get("node")
    own = errors.get(node_id(RunId(UUID(run_id)), node)) if run_id and node else None
    if own is not None:
        return own
    failed = partial(NodeFailed, run_id=run_id, hint=f"flowq runs show {run_id}")
    name = (node or "").partition("#")[0]
    return failed(name, found.get("error") or "RunFailed", found.get("reason") or "")
