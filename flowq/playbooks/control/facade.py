"""`Control` for programs that keep the state themselves: events come in, commands go out.

    engine = ControlFlowEngine(PlaybookRepo(), StateStore())
    engine.playbook_repo.register(playbook, "exec-123")
    engine.handle_event(Event(execution_id="exec-123", name="workflow.start"))

A run of flowq does not use it: there the program is replayed. The state is saved with
compare-and-set, so two threads may handle events of one execution. Time is that of the event; ids
are made from the execution's and a count.
"""

from copy import deepcopy
from datetime import datetime
from threading import Lock
from uuid import NAMESPACE_OID, UUID, uuid5

from flowq.core.errors import FlowqError, StepError
from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.control import Control, Limits
from flowq.playbooks.control.events import Event, EventName
from flowq.playbooks.control.state import ExecutionState
from flowq.playbooks.document.models import Playbook


class StateConflict(FlowqError):
    """The state of an execution was saved by somebody else in the meantime."""


def conflict(execution_id: str) -> StateConflict:
    """Return what is raised when another version of a state was saved meanwhile."""
    return StateConflict(
        f"the state of {execution_id} has changed since it was read", hint="handle the event again"
    )


class PlaybookRepo:
    """Which document an execution runs, in memory; in the database it is `StoredPlaybooks`."""

    def __init__(self) -> None:
        self._by_execution: dict[str, Playbook] = {}

    def register(self, playbook: Playbook, execution_id: str) -> None:
        """Bind a document to an execution."""
        self._by_execution[execution_id] = playbook

    def get_by_execution(self, execution_id: str) -> Playbook | None:
        """Return the document that an execution is bound to."""
        return self._by_execution.get(execution_id)


class StateStore:
    """The states of executions, in memory; `RedisStateStore` keeps them in Redis.

    Each is a copy, also when it is read.
    """

    def __init__(self) -> None:
        self._states: dict[str, ExecutionState] = {}
        self._lock = Lock()

    def get(self, execution_id: str) -> ExecutionState | None:
        """Return the state of an execution, or None when there is none."""
        with self._lock:
            return deepcopy(self._states.get(execution_id))

    def save(self, state: ExecutionState) -> None:
        """Save a state that was read before, or is new; its version counts up.

        Raises:
            StateConflict: another version was saved since it was read.
        """
        with self._lock:
            known = self._states.get(state.execution_id)
            if state.version != (known.version if known else 0):
                raise conflict(state.execution_id)
            state.version += 1
            self._states[state.execution_id] = deepcopy(state)

    def delete(self, execution_id: str) -> None:
        """Forget an execution."""
        with self._lock:
            self._states.pop(execution_id, None)


class ControlFlowEngine:
    """Handles the events of executions.

    Args:
        playbook_repo: Which document an execution runs.
        state_store: The states of the executions.
        limits: What keeps an execution finite.
    """

    def __init__(
        self, playbook_repo: PlaybookRepo, state_store: StateStore, limits: Limits | None = None
    ) -> None:
        self.playbook_repo = playbook_repo
        self.state_store = state_store
        self._limits = limits

    def handle_event(self, event: Event) -> list[Command]:
        """Return the commands that follow; none for an event, or an execution, that is not known.

        The payload of `workflow.start` may have a `workload`, which is merged over the document's.
        """
        playbook = self.playbook_repo.get_by_execution(event.execution_id)
        if playbook is None:
            return []
        while True:
            state = self.state_store.get(event.execution_id)
            if state is None and event.name != EventName.WORKFLOW_START:
                return []
            control = self._control(playbook, state, event)
            commands = control.handle(event)
            try:
                self.state_store.save(control.state)
            except StateConflict:
                continue  # somebody was faster: decide again, from where it stands now
            return commands

    def _control(self, playbook: Playbook, state: ExecutionState | None, event: Event) -> Control:
        commands = state.commands if state else 0
        count = iter(range(1, 1 << 30))

        def now() -> datetime:
            if event.timestamp is None:
                raise StepError("now() needs the timestamp of the event, which has none")
            return event.timestamp

        def uuid() -> UUID:
            return uuid5(NAMESPACE_OID, f"{event.execution_id}/{commands}/{next(count)}")

        payload = {} if state else event.payload.get("workload") or {}
        return Control(
            playbook,
            payload,
            execution_id=event.execution_id,
            now=now,
            uuid=uuid,
            limits=self._limits,
            state=state,
        )
