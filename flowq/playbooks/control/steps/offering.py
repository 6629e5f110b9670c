"""Offers the events of a step to its entries of `case`, and does what every part of a step needs.

`offer` finds the entry that fires, runs its actions, and begins the branches and sinks that they
ask for; what they ask of the call itself is left to `Stepping`. Also here: which steps are active,
the commands that are issued, what is logged, and the failure of the execution.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.events import Decision, EventName, Failure
from flowq.playbooks.control.matching import first_match
from flowq.playbooks.control.names import Happened, Scope, scope_of
from flowq.playbooks.control.state import Activation, Arrival, ExecutionState, Item
from flowq.playbooks.control.steps.actions import Effects, act
from flowq.playbooks.control.steps.calls import Calls
from flowq.playbooks.control.values import Loads
from flowq.playbooks.document.models import Json, Playbook, Sink, Step

#: Names of sinks among the active steps; no step has such a name.
_SINK: Final = "{}_sink#"


@dataclass(frozen=True, slots=True)
class Limits:
    """What keeps an execution finite.

    Attributes:
        pages: Of one call.
        calls: Of one execution; as many steps may begin.
        depth: Of playbooks that call each other, this one included.
    """

    pages: int = 100
    calls: int = 10_000
    depth: int = 16


class Offering:
    """What the parts of a step have in common."""

    def __init__(
        self,
        playbook: Playbook,
        state: ExecutionState,
        *,
        limits: Limits,
        functions: Mapping[str, object],
        report: Callable[[Decision], None],
    ) -> None:
        self.queue: deque[Arrival] = deque()
        self.loads = Loads()
        self.playbook = playbook
        self.state = state
        self.limits = limits
        self._functions = functions
        self._report = report
        self.calls = Calls(playbook, state)
        self._commands: list[Command] = []

    def take_commands(self) -> list[Command]:
        """Return the commands since the last time."""
        taken, self._commands = self._commands, []
        return taken if self.state.workflow_status == "running" else []

    def report(
        self, name: EventName, step: str | None, payload: Mapping[str, Any] | None = None
    ) -> None:
        """Report what was decided."""
        self._report(Decision(name, step, payload or {}))

    def fail(self, step: str, failure: Failure, attempt: int = 1) -> None:
        """Fail the execution; nothing begins any more."""
        state = self.state
        if state.workflow_status != "running":
            return
        state.workflow_status = "failed"
        state.error, state.error_step, state.error_attempt = failure, step, attempt
        self.queue.clear()
        payload = {"status": "failed", "final_step": step, "error": failure.to_json()}
        self.report(EventName.WORKFLOW_FAILED, "workflow", payload)
        self.report(EventName.PLAYBOOK_FAILED, self.playbook.metadata.path, payload)

    def activate(self, name: str, args: dict[str, Json], *, active: str) -> Activation | None:
        """Make a step active, unless the execution has begun too many."""
        state = self.state
        state.begun += 1
        if state.begun > self.limits.calls:
            self.fail(name, self._too_many("steps"))
            return None
        activation = Activation(state.begun, name, args)
        state.activations[activation.number] = activation
        state.active[active] = state.active.get(active, 0) + 1
        return activation

    def _too_many(self, what: str) -> Failure:
        text = f"the execution has more than {self.limits.calls:,} {what} (FLOWQ_PROGRAM_CALLS)"
        return Failure(text, type="LimitReached")

    def deactivate(self, activation: Activation, *, active: str) -> None:
        """End what is active under a name."""
        state = self.state
        del state.activations[activation.number]
        state.active[active] -= 1
        if not state.active[active]:
            del state.active[active]

    def issue(self, command: Command) -> None:
        """Give a command out, unless the execution has made too many."""
        if command.id > self.limits.calls:
            self.fail(command.step, self._too_many("calls"))
            return
        self._commands.append(command)
        payload = {
            "command_id": command.id,
            "step": command.step,
            "tool_kind": command.tool.kind,
            "tool_config": command.tool.config,
            "args": command.args,
            "attempt": command.attempt,
            "page": command.page,
            "priority": command.priority,
        }
        self.report(EventName.COMMAND_ISSUED, command.step, payload)

    # --- entries ------------------------------------------------------------------------------

    def step_of(self, activation: Activation) -> Step:
        """Return the step of the document that is active."""
        step = self.playbook.step(activation.step)
        assert step is not None
        return step

    def scope(self, activation: Activation, item: Item | None, happened: Happened) -> Scope:
        """Return the names that templates of a step see."""
        loop = self.step_of(activation).loop
        return scope_of(
            self.state, activation, item, happened, loop=loop, functions=self._functions
        )

    def offer(
        self, activation: Activation, item: Item | None, happened: Happened
    ) -> Effects | None:
        """Offer an event to the entries of its step.

        Returns:
            What the actions ask of the step, or None when no entry fires.
        """
        case = self.step_of(activation).case
        if not case:
            return None
        scope = self.scope(activation, item, happened)
        failed = happened.error is not None
        attempt = item.attempt if item else activation.attempt
        index = first_match(case, happened.name, scope, failed=failed, attempt=attempt)
        if index is None:
            return None
        payload = {"event": happened.name, "entry": index, "when": case[index].when}
        self.report_of(activation, EventName.CASE_EVALUATED, payload)
        effects = act(case[index].then, activation, item, happened.name, scope)
        self.perform(activation, effects)
        return effects

    def perform(self, activation: Activation, effects: Effects) -> None:
        """Do what actions ask for beside the step."""
        for name, payload in effects.decisions:
            self.report_of(activation, name, payload)
        self.queue.extend(Arrival(step, args) for step, args in effects.branches)
        for sink in effects.sinks:
            self._begin_sink(activation, sink)
        if effects.failure and effects.fails_workflow:
            self.fail(activation.step, effects.failure, activation.attempt)

    def report_of(
        self, activation: Activation, name: EventName, payload: Mapping[str, Any]
    ) -> None:
        """Report something of a step: after its `step.enter`, which may be held."""
        if activation.held:
            activation.held.append(Decision(name, activation.step, payload))
        else:
            self.report(name, activation.step, payload)

    def release(self, activation: Activation) -> None:
        """Report what was held until the first call has ended."""
        for decision in activation.held:
            self._report(decision)
        activation.held.clear()

    # --- sinks --------------------------------------------------------------------------------

    def _begin_sink(self, origin: Activation, sink: Sink) -> None:
        name = f"{origin.step}_sink"
        activation = self.activate(name, {}, active=_SINK.format(origin.step))
        if activation is not None:
            activation.sink = sink
            self.report(EventName.SINK_STARTED, name, {"step": origin.step})
            self.issue(self.calls.sink(activation))

    def sink_ended(self, activation: Activation, failure: Failure | None) -> None:
        """End a sink; its failure is that of the execution, unless it is ignored."""
        assert activation.sink is not None
        self.deactivate(activation, active=f"{activation.step}#")
        if failure is None:
            self.report(EventName.SINK_COMPLETED, activation.step)
            return
        self.report(EventName.SINK_FAILED, activation.step, {"error": failure.to_json()})
        if activation.sink.on_error == "fail":
            self.fail(activation.step, failure)
