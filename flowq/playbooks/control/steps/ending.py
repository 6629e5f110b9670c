"""How a step ends: its result, `step.exit`, vars, sinks, and the transitions that follow.

A failure that no entry has handled is offered once more, as `step.exit`. Unhandled there too, it is
the failure of the execution. A handled one ends the branch, unless actions go on with other steps.
"""

from flowq.playbooks.control.events import EventName, Failure
from flowq.playbooks.control.names import Happened, Scope
from flowq.playbooks.control.rendering import UNRENDERABLE, rendered
from flowq.playbooks.control.state import Activation, Arrival, Item
from flowq.playbooks.control.steps.actions import act, failure_of, result_of
from flowq.playbooks.control.steps.offering import Offering
from flowq.playbooks.control.steps.results import result_of_item
from flowq.playbooks.document.models import Step
from flowq.tools.text import MISSING


class Ending(Offering):
    """The ends of steps."""

    def exit(
        self,
        activation: Activation,
        item: Item | None = None,
        *,
        result: object = MISSING,
        failure: Failure | None = None,
        is_handled: bool = False,
        is_skipped: bool = False,
    ) -> None:
        """End a step.

        Args:
            activation: The step.
            item: Of a step without a loop: its call.
            result: Of a loop: the aggregate.
            failure: Why the step has failed.
            is_handled: Whether the document handles the failure itself.
            is_skipped: Whether no call was made.
        """
        self.release(activation)
        step = self.step_of(activation)
        if item:
            result = MISSING if failure else result_of_item(item)
        if failure is None and step.result and not is_skipped:
            result, failure = self._declared(activation, step, result)
        if failure and not is_handled:
            activation.transitions.clear()
        happened = self._exited(activation, item, result, failure, is_skipped=is_skipped)
        effects = self.offer(activation, None, happened)
        if effects:
            failure, is_handled = effects.failure or failure, not effects.is_broken
        if self.state.workflow_status != "running":
            return
        if failure and not is_handled:
            self.fail(step.name, failure, activation.attempt)
            return
        self._go_on(activation, step, happened, failure)

    def _declared(
        self, activation: Activation, step: Step, result: object
    ) -> tuple[object, Failure | None]:
        """Return what the step says its result is, or why that cannot be rendered."""
        assert step.result is not None
        happened = Happened(EventName.STEP_EXIT, response=result, result=result)
        try:
            return result_of(step.result, self.scope(activation, None, happened)), None
        except UNRENDERABLE as error:
            return MISSING, failure_of(error, f"result of {step.name!r}")

    def _exited(
        self,
        activation: Activation,
        item: Item | None,
        result: object,
        failure: Failure | None,
        *,
        is_skipped: bool,
    ) -> Happened:
        """Keep the result, report that the step ends, and return the event."""
        if activation.given is not MISSING and failure is None:
            result = activation.given
        if result is not MISSING:
            self.state.step_results[activation.step] = result
        status = "failed" if failure else "skipped" if is_skipped else "completed"
        error = failure.to_json() if failure else None
        payload = {
            "status": status,
            "result": None if result is MISSING else result,
            **({"error": error} if error else {}),
        }
        self.report(EventName.STEP_EXIT, activation.step, payload)
        has_response = item is not None and item.response is not MISSING and failure is None
        response = item.response if item and has_response else result
        return Happened(EventName.STEP_EXIT, payload, response=response, result=result, error=error)

    def _go_on(
        self, activation: Activation, step: Step, happened: Happened, failure: Failure | None
    ) -> None:
        """Evaluate vars and sinks of a step that has ended, and queue what follows."""
        result = happened.result if activation.given is MISSING else activation.given
        if result is not MISSING:
            self.state.step_results[step.name] = result
        scope = self.scope(activation, None, happened)
        is_completed = failure is None and happened.payload["status"] == "completed"
        if is_completed and not self._finish(activation, step, scope):
            return
        arrivals = [Arrival(name, args) for name, args in activation.transitions]
        if not arrivals and failure is None:
            try:
                arrivals = [Arrival(one.step, rendered(one.args, scope)) for one in step.next]
            except UNRENDERABLE as error:
                self.fail(step.name, failure_of(error, f"next of {step.name!r}"))
                return
        if activation.loop and is_completed:
            for one in arrivals:
                one.args = {"loop_results": result, **one.args}
        self.deactivate(activation, active=step.name)
        self.state.final_step = step.name
        self.state.final_result = None if failure or result is MISSING else result
        self.queue.extend(arrivals)

    def _finish(self, activation: Activation, step: Step, scope: Scope) -> bool:
        """Evaluate vars, log their errors, and begin sinks; return whether it worked."""
        for name, value in step.vars.items():
            try:
                self.state.ctx[name] = rendered(value, scope)
            except UNRENDERABLE as error:
                self.report(
                    EventName.VARS_FAILED, step.name, {"name": name, "error": error.message}
                )
        of_task = activation.task.sink if activation.task else None
        sinks = tuple(sink for sink in (step.sink, of_task) if sink)
        effects = act(sinks, activation, None, EventName.STEP_EXIT, scope)
        self.perform(activation, effects)
        if effects.failure:
            self.fail(step.name, effects.failure)
        return effects.failure is None
