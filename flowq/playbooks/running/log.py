"""The log of an execution, and its state: the program replayed over the rows of its run.

What a program has observed is recorded, in its order. So feeding the observations to it again makes
it decide the same again, and report it: the log is complete whatever worker was killed, costs
nothing while the execution runs, and its numbers never change. Only what was observed is in it: a
call that has ended since then comes with the next step of the program.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from flowq.core.ids import RunId
from flowq.engine.attempts.programs.history import recording
from flowq.engine.engine import Engine
from flowq.engine.model.rows import StepView
from flowq.engine.replay import CallEnded, Observation
from flowq.playbooks.control.carrying import argument
from flowq.playbooks.control.control import Control
from flowq.playbooks.control.events import Decision, EventName
from flowq.playbooks.control.state import ExecutionState
from flowq.playbooks.running.program import interpret

_STATUS: Final[Mapping[EventName, str]] = {
    EventName.PLAYBOOK_INITIALIZED: "INITIALIZED",
    EventName.WORKFLOW_INITIALIZED: "INITIALIZED",
    EventName.COMMAND_ISSUED: "PENDING",
    EventName.CALL_DONE: "COMPLETED",
    EventName.STEP_EXIT: "COMPLETED",
    EventName.LOOP_DONE: "COMPLETED",
    EventName.COMMAND_COMPLETED: "COMPLETED",
    EventName.SINK_COMPLETED: "COMPLETED",
    EventName.WORKFLOW_COMPLETED: "COMPLETED",
    EventName.PLAYBOOK_COMPLETED: "COMPLETED",
    EventName.CALL_ERROR: "FAILED",
    EventName.COMMAND_FAILED: "FAILED",
    EventName.SINK_FAILED: "FAILED",
    EventName.WORKFLOW_FAILED: "FAILED",
    EventName.PLAYBOOK_FAILED: "FAILED",
}


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event of the log.

    Attributes:
        event_id: From 1; it never changes.
        event_type: Its name, as `call.done`.
        node_name: The step, `workflow`, or the path of the playbook.
        status: INITIALIZED, PENDING, RUNNING, COMPLETED or FAILED.
        created_at: When what led to it ended; of the begin of a call, when it began.
        payload: JSON data; results over 1 KiB are a `Reference`, which `Answers` reads.
    """

    event_id: int
    event_type: str
    node_name: str
    status: str
    created_at: datetime
    payload: Mapping[str, Any]


@dataclass(slots=True)
class Replayed:
    """An execution, as far as its program has observed it.

    Attributes:
        events: The log.
        state: Where it is; large results are views.
    """

    events: list[LogEvent] = field(default_factory=list)
    control: Control | None = None

    @property
    def state(self) -> ExecutionState:
        """Where the execution is."""
        assert self.control is not None  # it was started
        return self.control.state


def replayed(engine: Engine, run_id: RunId) -> Replayed:
    """Replay an execution.

    Args:
        engine: Where it is recorded.
        run_id: Its run.

    Raises:
        NondeterminismError: this process has other rules than the run was made by.
        RunUnreadable: a row of the run cannot be read.
    """
    done = Replayed()
    decisions: list[Decision] = []
    record = recording(
        engine,
        run_id,
        partial(interpret, report=decisions.append, watch=partial(setattr, done, "control")),
    )
    view = engine.records.autocommit(lambda tx: tx.runs.view(run_id))
    rows = {step.key: step for step in view.steps} if view else {}
    execution = record.execution(record.calls)
    try:
        execution.feed([])
        _note(done, decisions, execution.now, None)
        for one in record.history:
            execution.feed([one])
            _note(done, decisions, one.at, _row(one, rows))
    finally:
        execution.close()
    return done


def _row(one: Observation, rows: Mapping[str, StepView]) -> StepView | None:
    return rows.get(one.key) if isinstance(one, CallEnded) else None


def _note(done: Replayed, decisions: list[Decision], at: datetime, row: StepView | None) -> None:
    """Move decisions to the log."""
    for one in decisions:
        payload = dict(one.payload)
        began = at
        if one.name in (EventName.COMMAND_CLAIMED, EventName.COMMAND_STARTED) and row is not None:
            began = row.started_at or at
            payload["worker_id"] = row.worker
        done.events.append(
            LogEvent(
                event_id=len(done.events) + 1,
                event_type=str(one.name),
                node_name=one.step or "workflow",
                status=_status(one),
                created_at=began,
                payload=argument(payload),
            )
        )
    decisions.clear()


def _status(one: Decision) -> str:
    if one.name is EventName.STEP_EXIT and one.payload.get("status") == "failed":
        return "FAILED"
    return _STATUS.get(one.name, "RUNNING")
