"""Decides what happens next in an execution. Pure: no I/O, no clock, no dice of its own.

    control.start()                     -> commands
    control.completed(id, response)     -> commands        a call has ended well
    control.failed(id, failure)         -> commands        it has failed, after the engine's retries

What happens within a step is decided by `Stepping`; the steps that follow are queued, and begun
here one by one, so nothing recurs however long a playbook goes in circles. Here are also the joins
and the end. The same ends in the same order give the same commands with the same numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flowq.core.errors import FlowqError
from flowq.playbooks.control import joining
from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.events import Decision, Event, EventName, Failure
from flowq.playbooks.control.state import Arrival, ExecutionState
from flowq.playbooks.control.steps.offering import Limits
from flowq.playbooks.control.steps.stepping import Stepping
from flowq.playbooks.document.models import Json, Playbook
from flowq.tools.text import Function

__all__ = ["Control", "Limits", "Outcome", "PlaybookFailed", "deep_merged"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution has ended."""

    status: str
    final_step: str | None
    result: Json


class PlaybookFailed(FlowqError):
    """An execution of a playbook has failed.

    Attributes:
        step: The step that failed.
        failure: Why.
        attempt: Number of its last attempt.
    """

    def __init__(self, step: str | None, failure: Failure, attempt: int) -> None:
        super().__init__(f"step {step!r} failed: {failure.type}: {failure.message}")
        self.step = step
        self.failure = failure
        self.attempt = attempt


class Control:
    """One execution of a playbook.

    Args:
        playbook: The document.
        payload: What is merged over its workload; mappings merge, all else replaces.
        execution_id: What templates see as `execution_id`.
        now: The clock of the program.
        uuid: Its source of ids.
        report: Gets what is decided, for the log.
        limits: What keeps the execution finite.
        state: Where it stands, when it goes on.
    """

    def __init__(
        self,
        playbook: Playbook,
        payload: Mapping[str, Json],
        *,
        execution_id: str,
        now: Callable[[], datetime],
        uuid: Callable[[], UUID],
        report: Callable[[Decision], None] | None = None,
        limits: Limits | None = None,
        state: ExecutionState | None = None,
    ) -> None:
        self.playbook = playbook
        workload = deep_merged(playbook.workload, payload)
        self.state = state or ExecutionState(execution_id, workload)
        self._graph = joining.Graph(playbook)
        self._stepping = Stepping(
            playbook,
            self.state,
            limits=limits or Limits(),
            functions={"now": Function(now), "uuid": Function(lambda: str(uuid()))},
            report=report or (lambda _: None),
        )

    @property
    def is_done(self) -> bool:
        """Whether the execution has ended."""
        return self.state.workflow_status in ("completed", "failed")

    def start(self) -> list[Command]:
        """Begin the step `start`; again: nothing."""
        if self.state.workflow_status != "pending":
            return []
        self.state.workflow_status = "running"
        self._stepping.report(EventName.PLAYBOOK_INITIALIZED, self.playbook.metadata.path)
        workload = {"workload": self.state.workload}
        self._stepping.report(EventName.WORKFLOW_INITIALIZED, "workflow", workload)
        self._stepping.queue.append(Arrival("start", {}))
        return self._settle()

    def completed(self, command_id: int, response: object) -> list[Command]:
        """Take the result of a command.

        Args:
            command_id: Its number; of one that is not open: nothing happens.
            response: A value, or a lazy result. Of a map: the results of its items in order, with a
                `Failure` in the place of each that has failed.
        """
        return self._ended(command_id, response, None)

    def failed(self, command_id: int, error: Failure) -> list[Command]:
        """Take the failure of a command; of one that is not open: nothing happens."""
        return self._ended(command_id, None, error)

    def _ended(self, command_id: int, response: object, failure: Failure | None) -> list[Command]:
        if self.is_done or command_id not in self.state.open:
            return []
        number, index = self.state.open.pop(command_id)
        activation = self.state.activations[number]
        self._stepping.ended(activation, activation.items[index], response, failure)
        commands = self._settle()
        name = EventName.COMMAND_FAILED if failure else EventName.COMMAND_COMPLETED
        payload = {"command_id": command_id, **({"error": failure.to_json()} if failure else {})}
        self._stepping.report(name, activation.step, payload)
        return commands

    def handle(self, event: Event) -> list[Command]:
        """Take an event in the form of the seed; one that is not known changes nothing.

        The end of a call is that of `payload.command_id`, else of the oldest open call of its step.
        """
        if event.name == EventName.WORKFLOW_START:
            return self.start()
        if event.name == EventName.WORKFLOW_END and not self.is_done:
            self._complete()
        if event.name not in (EventName.CALL_DONE, EventName.CALL_ERROR):
            return []
        command_id = self._command_of(event)
        error = event.payload.get("error")
        if error is None and event.name == EventName.CALL_DONE:
            return self.completed(command_id, _response(event.payload))
        return self.failed(command_id, Failure.of(error or "the call failed"))

    def _command_of(self, event: Event) -> int:
        known = event.payload.get("command_id")
        if isinstance(known, int):
            return known
        of_step = (
            command
            for command, (number, _) in self.state.open.items()
            if self.state.activations[number].step == event.step
        )
        return next(of_step, 0)

    def _settle(self) -> list[Command]:
        """Begin what follows, until all that is active waits for a command."""
        queue = self._stepping.queue
        while self.state.workflow_status == "running":
            if queue:
                self._arrive(queue.popleft())
            elif arrivals := joining.released(self.state, self._graph):
                self._join(arrivals)
            elif self.state.active:
                break
            else:
                self._end()
        self._stepping.loads.forget()
        return self._stepping.take_commands()

    def _arrive(self, arrival: Arrival) -> None:
        step = self.playbook.step(arrival.step)
        if arrival.step == joining.END or (step and step.join == "all"):
            self.state.kept.append(arrival)
        elif step:
            self._stepping.begin(step, arrival.args)
        else:
            self._stepping.fail(arrival.step, Failure(f"there is no step {arrival.step!r}"))

    def _join(self, arrivals: list[Arrival]) -> None:
        step = self.playbook.step(arrivals[0].step)
        if step and step.name != joining.END:
            self._stepping.begin(step, joining.joined_args(arrivals))
        else:
            self._end(arrivals)

    def _end(self, arrivals: list[Arrival] | None = None) -> None:
        """Run the step `end` once, if there is one; then the execution is complete."""
        step = self.playbook.step(joining.END)
        if step and not self.state.has_begun_end:
            self.state.has_begun_end = True
            self._stepping.begin(step, joining.joined_args(arrivals or []))
        elif not self.state.active:
            self._complete()

    def _complete(self) -> None:
        self.state.workflow_status = "completed"
        payload = {
            "status": "completed",
            "final_step": self.state.final_step,
            "result": self.state.final_result,
        }
        self._stepping.report(EventName.WORKFLOW_COMPLETED, "workflow", payload)
        self._stepping.report(EventName.PLAYBOOK_COMPLETED, self.playbook.metadata.path, payload)

    def outcome(self) -> Outcome:
        """Return how the execution has ended; its result may have views of lazy results.

        Raises:
            PlaybookFailed: it has failed.
            FlowqError: it has not ended.
        """
        state = self.state
        if state.workflow_status == "failed":
            assert state.error is not None
            raise PlaybookFailed(state.error_step, state.error, state.error_attempt)
        if not self.is_done:
            raise FlowqError(f"execution {state.execution_id} is not finished")
        return Outcome("completed", state.final_step, state.final_result)


def _response(payload: Mapping[str, Any]) -> object:
    return payload["response"] if "response" in payload else payload.get("result")


def deep_merged(base: Mapping[str, Json], over: Mapping[str, Json]) -> dict[str, Json]:
    """Return a mapping with another over it: mappings merge, all else replaces."""
    made = dict(base)
    for key, value in over.items():
        known = made.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            made[key] = deep_merged(known, value)
        else:
            made[key] = value
    return made
