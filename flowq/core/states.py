"""All states of runs and steps, and all transitions between them.

Two rules. The tables below are the only definition of transitions: any other change is an error.
And a terminal state never changes. The records write each change as a guarded UPDATE, whose WHERE
names states that the tables allow (`…_sources`, or fewer), so the tables also hold between
processes. The chaos tests compare every change with the tables.
"""

from enum import StrEnum


class RunState(StrEnum):
    """The state of a run."""

    PENDING = "pending"  #: Accepted and recorded; nothing of it has been queued.
    RUNNING = "running"  #: Its steps are being queued and run.
    PAUSED = "paused"  #: Nothing new begins until someone resumes it.
    CANCELLING = (
        "cancelling"  #: Nothing new begins, by cancel or failure; running steps are ending.
    )
    COMPLETED = "completed"  #: Every step that had to run has completed. Terminal.
    FAILED = "failed"  #: A step that mattered has failed. Terminal.
    CANCELLED = "cancelled"  #: Someone cancelled it. Terminal.


class StepState(StrEnum):
    """The state of a step run."""

    PENDING = "pending"  #: Waits for the steps it depends on.
    QUEUED = "queued"  #: Ready; a message is, or will be, on its way to a worker.
    RUNNING = "running"  #: A worker holds its lease; for a map: its items are on their way.
    RETRYING = "retrying"  #: An attempt failed; the next one begins at `wake_at`.
    WAITING = "waiting"  #: Holds no worker: a child run, a called step, a time or a signal is due.
    COMPLETED = "completed"  #: Its result is recorded. Terminal.
    FAILED = "failed"  #: No attempt is left. Terminal.
    SKIPPED = "skipped"  #: Its condition, or one before it, was false. Terminal.
    CANCELLED = (
        "cancelled"  #: The run stopped before it had ended, or a step before it failed. Terminal.
    )


_RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.CANCELLING}),
    RunState.RUNNING: frozenset(
        {RunState.PAUSED, RunState.CANCELLING, RunState.COMPLETED, RunState.FAILED},
    ),
    RunState.PAUSED: frozenset({RunState.RUNNING, RunState.CANCELLING}),
    RunState.CANCELLING: frozenset({RunState.FAILED, RunState.CANCELLED}),
    RunState.COMPLETED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}

_STEP_TRANSITIONS: dict[StepState, frozenset[StepState]] = {
    StepState.PENDING: frozenset(
        {
            StepState.QUEUED,
            StepState.RUNNING,  # a map that is expanded
            StepState.COMPLETED,  # a map over nothing
            StepState.FAILED,  # its condition or its list could not be read
            StepState.SKIPPED,
            StepState.CANCELLED,
        },
    ),
    StepState.QUEUED: frozenset({StepState.RUNNING, StepState.CANCELLED}),
    StepState.RUNNING: frozenset(
        {
            StepState.QUEUED,  # its lease expired
            StepState.RETRYING,
            StepState.WAITING,
            StepState.COMPLETED,
            StepState.FAILED,
            StepState.CANCELLED,
        },
    ),
    StepState.RETRYING: frozenset(
        {StepState.QUEUED, StepState.RUNNING, StepState.CANCELLED},
    ),
    StepState.WAITING: frozenset(
        {
            StepState.QUEUED,  # a program; its awaited call has ended
            StepState.RUNNING,  # the same; who has ended the call continues it
            StepState.COMPLETED,
            StepState.FAILED,
            StepState.CANCELLED,
        },
    ),
    StepState.COMPLETED: frozenset(),
    StepState.FAILED: frozenset(),
    StepState.SKIPPED: frozenset(),
    StepState.CANCELLED: frozenset(),
}

TERMINAL_RUN_STATES = frozenset(state for state, to in _RUN_TRANSITIONS.items() if not to)
TERMINAL_STEP_STATES = frozenset(state for state, to in _STEP_TRANSITIONS.items() if not to)
ACTIVE_STEP_STATES = frozenset(StepState) - TERMINAL_STEP_STATES
OPEN_RUN_STATES = frozenset(RunState) - TERMINAL_RUN_STATES
#: The states that progress counts: all terminal ones except cancelled.
DONE_STEP_STATES = (StepState.COMPLETED, StepState.SKIPPED, StepState.FAILED)


def run_sources(to: RunState) -> frozenset[RunState]:
    """Return the states from which a run may go to `to`."""
    return frozenset(state for state, targets in _RUN_TRANSITIONS.items() if to in targets)


def step_sources(to: StepState) -> frozenset[StepState]:
    """Return the states from which a step run may go to `to`."""
    return frozenset(state for state, targets in _STEP_TRANSITIONS.items() if to in targets)


class StopKind(StrEnum):
    """Why a run is paused, stopping, failed or cancelled, for code that decides by it.

    The text beside it is only for people.
    """

    FAILED = "failed"  #: A step that mattered has failed; `failed_step_id` names it.
    OUTPUT = "output"  #: All steps have ended, and what the flow makes of them cannot be read.
    UNREADABLE = "unreadable"  #: Its rows cannot be read, or only by a newer flowq.
    CHANGED_CODE = "changed_code"  #: The program does not match its record.
    DEADLINE = "deadline"  #: Its deadline has passed.
    BUDGET = "budget"  #: Its own budget is spent; raising that resumes it.
    BUDGET_MONTH = "budget_month"  #: A budget of a month is spent; the next month resumes it.
    SUPERSEDED = "superseded"  #: Another run of its singleton or debounce key has replaced it.
    PARENT = "parent"  #: The run whose step has started it is paused, or waits for it no longer.
    USER = "user"  #: Someone has paused or cancelled it.


#: Pauses by a budget.
BUDGET_STOPS = frozenset({StopKind.BUDGET, StopKind.BUDGET_MONTH})


class AttemptEnd(StrEnum):
    """Why an attempt was followed by another one."""

    FAILED = "failed"  #: The step raised, and is tried again.
    DEFERRED = "put_off"  #: What it needs was away; counts as a recovery.
    LOST = "lost"  #: Its worker died or fell silent; counts as a recovery.
    RELEASED = "given_back"  #: Its worker had to end; not counted.
    PAUSED = "paused"  #: Its run was paused while it ran; not counted.
