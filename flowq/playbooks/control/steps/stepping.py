"""What happens within a step: it begins, makes calls, and ends.

    begin     args, `step.enter`, then its call or the items of its loop
    ended     `call.done` or `call.error`: the same call again, or the item has ended
    exit      `step.exit`, vars, sink, transitions

A step without a loop has one `Item`, whose index is None. What follows is only queued here.
"""

from collections.abc import Mapping
from dataclasses import replace

from flowq.playbooks.control.events import Decision, EventName, Failure
from flowq.playbooks.control.names import Happened, names_of_loop
from flowq.playbooks.control.rendering import UNRENDERABLE, Fields, rendered
from flowq.playbooks.control.state import Activation, Item
from flowq.playbooks.control.steps import loops
from flowq.playbooks.control.steps.actions import Again, Effects, failure_of
from flowq.playbooks.control.steps.ending import Ending
from flowq.playbooks.control.steps.results import of_response, result_of_item
from flowq.playbooks.control.values import shown
from flowq.playbooks.document.models import Json, Step
from flowq.tools.text import compile_text


class Stepping(Ending):
    """The steps of one execution."""

    # --- a step begins ------------------------------------------------------------------------

    def begin(self, step: Step, args: Mapping[str, Json]) -> None:
        """Begin a step with the arguments of a transition, which go over its own."""
        activation = self.activate(step.name, dict(args), active=step.name)
        if activation is None:
            return
        try:
            scope = self.scope(activation, None, Happened(EventName.STEP_ENTER))
            own, activation.item_args = _split(step)
            activation.args = {**rendered(own, scope), **args}
        except UNRENDERABLE as error:
            activation.held.append(Decision(EventName.STEP_ENTER, step.name, {"args": dict(args)}))
            self.exit(activation, failure=failure_of(error, f"args of {step.name!r}"))
            return
        happened = Happened(EventName.STEP_ENTER, {"args": activation.args})
        activation.held.append(Decision(EventName.STEP_ENTER, step.name, happened.payload))
        effects = self.offer(activation, None, happened) or Effects()
        if effects.failure:
            self.exit(activation, failure=effects.failure, is_handled=not effects.is_broken)
        elif effects.is_skipped:
            self.exit(activation, is_skipped=True)
        elif step.loop:
            self._begin_loop(activation, step)
        elif failure := self._call(activation, Item(args=activation.args)):
            self.exit(activation, failure=failure)

    # --- calls --------------------------------------------------------------------------------

    def _call(self, activation: Activation, item: Item) -> Failure | None:
        """Make the first call of an item; return why it cannot be made."""
        failure = self._prepare(activation, item)
        if failure is None:
            self.issue(self.calls.command(activation, item, self.step_of(activation)))
        return failure

    def _prepare(
        self, activation: Activation, item: Item, *, is_map: bool = False
    ) -> Failure | None:
        """Render the arguments and the tool of an item; return why that is not possible."""
        step = self.step_of(activation)
        activation.items[item.index] = item
        later = Fields(names_of_loop(step.loop)) if is_map else None
        try:
            scope = self.scope(activation, item, Happened(EventName.STEP_ENTER))
            if activation.item_args:
                of_item = rendered(activation.item_args, scope, fields=later)
                scope.args = scope.own["args"] = item.args = {**of_item, **item.args}
            self.calls.prepare(activation, item, step, scope, is_map=is_map)
        except UNRENDERABLE as error:
            return failure_of(error, f"tool of {step.name!r}")
        return None

    def ended(
        self, activation: Activation, item: Item, response: object, failure: Failure | None
    ) -> None:
        """Decide what follows the end of a command: `response`, or `failure` if it has failed."""
        if activation.sink:
            self.sink_ended(activation, failure)
            return
        self.release(activation)
        activation.attempt = item.attempt
        if failure:
            effects = self._offer_failure(activation, item, failure)
        else:
            kind = item.tool.kind if item.tool else ""
            item.response = of_response(response, kind, self.loads)
            payload = {"response": item.response}
            self.report(EventName.CALL_DONE, activation.step, payload)
            happened = Happened(
                EventName.CALL_DONE,
                {"response": shown(item.response), "result": shown(item.response)},
                response=item.response,
                result=item.response,
            )
            effects = None if self._is_map(activation) else self.offer(activation, item, happened)
        if self.state.workflow_status != "running":
            return
        if self._is_map(activation):
            self._map_ended(activation, item, failure)
        elif effects is None:
            self._item_ended(activation, item, failure)
        elif effects.failure:
            is_handled = not effects.is_broken
            self._item_ended(activation, item, effects.failure, is_handled=is_handled)
        elif not (effects.again and self._call_again(activation, item, effects.again)):
            self._item_ended(activation, item)

    def _offer_failure(
        self, activation: Activation, item: Item, failure: Failure
    ) -> Effects | None:
        """Offer a failed call as `call.error`, then as `call.done`."""
        error = failure.to_json()
        self.report(EventName.CALL_ERROR, activation.step, {"error": error})
        if self._is_map(activation):
            return None
        happened = Happened(EventName.CALL_ERROR, {"error": error}, error=error)
        effects = self.offer(activation, item, happened)
        if effects is None:
            effects = self.offer(activation, item, replace(happened, name=EventName.CALL_DONE))
        return effects

    def _call_again(self, activation: Activation, item: Item, again: Again) -> bool:
        """Make the next page, or another attempt; return whether the limit of pages allows it."""
        if again.overrides is None:
            item.attempt += 1
        else:
            most = again.most_pages or self.limits.pages
            if item.page >= most:
                payload = {"pages": item.page, "limit": most}
                self.report(EventName.PAGINATION_CAPPED, activation.step, payload)
                return False
            item.page, item.attempt, item.overrides = item.page + 1, 1, again.overrides
        command = self.calls.command(activation, item, self.step_of(activation))
        self.issue(replace(command, backoff=again.delay))
        return True

    def _item_ended(
        self,
        activation: Activation,
        item: Item,
        failure: Failure | None = None,
        *,
        is_handled: bool = False,
    ) -> None:
        """End a step, or an item of its loop, after its last call."""
        if item.index is None:
            self.exit(activation, item, failure=failure, is_handled=is_handled)
            return
        self._record(activation, item, failure, is_handled=is_handled)
        self._advance_loop(activation)

    # --- loops --------------------------------------------------------------------------------

    def _begin_loop(self, activation: Activation, step: Step) -> None:
        assert step.loop is not None
        try:
            scope = self.scope(activation, None, Happened(EventName.STEP_ENTER))
            items = rendered(step.loop.items, scope)
            activation.loop = loops.empty(loops.items_of(items))
        except UNRENDERABLE as error:
            self.exit(activation, failure=failure_of(error, f"loop of {step.name!r}"))
            return
        if not (activation.loop.values and loops.is_map(step)):
            self._advance_loop(activation)
            return
        item = Item(args=activation.args)
        if failure := self._prepare(activation, item, is_map=True):
            self.exit(activation, failure=failure)
        else:
            self.issue(self.calls.map(activation, item, step))

    def _is_map(self, activation: Activation) -> bool:
        return activation.loop is not None and None in activation.items

    def _map_ended(self, activation: Activation, item: Item, failure: Failure | None) -> None:
        loop = self.step_of(activation).loop
        assert activation.loop is not None
        assert loop is not None
        if failure:
            self.exit(activation, failure=failure)
            return
        loops.mapped(activation.loop, loop, item.response)
        self._loop_ended(activation, item.response if loops.is_whole(item.response) else None)

    def _advance_loop(self, activation: Activation) -> None:
        """Begin as many items as may be open; end the loop after the last."""
        loop, state = self.step_of(activation).loop, activation.loop
        assert loop is not None
        assert state is not None
        while loops.has_more(state, loop) and self.state.workflow_status == "running":
            self._begin_item(activation, loop.iterator)
        if loops.has_ended(state) and self.state.workflow_status == "running":
            self._loop_ended(activation)

    def _begin_item(self, activation: Activation, iterator: str) -> None:
        state = activation.loop
        assert state is not None
        index = state.begun
        item = Item(index, state.values[index], args=activation.args)
        state.begun, state.open = state.begun + 1, state.open + 1
        payload = {"item": item.value, "index": index, "iterator": iterator}
        self.report_of(activation, EventName.LOOP_ITEM, payload)
        effects = self.offer(activation, item, Happened(EventName.LOOP_ITEM, payload)) or Effects()
        if effects.failure:
            self._record(activation, item, effects.failure, is_handled=not effects.is_broken)
        elif effects.is_skipped:
            state.open -= 1
        elif failure := self._call(activation, item):
            self._record(activation, item, failure)

    def _record(
        self,
        activation: Activation,
        item: Item,
        failure: Failure | None,
        *,
        is_handled: bool = False,
    ) -> None:
        """Keep what an item has made."""
        loop, state, index = self.step_of(activation).loop, activation.loop, item.index
        assert loop is not None
        assert state is not None
        assert index is not None
        activation.items.pop(index, None)
        state.open -= 1
        if failure:
            loops.failed(state, loop, index, failure, is_handled=is_handled)
        else:
            loops.succeeded(state, index, result_of_item(item))

    def _loop_ended(self, activation: Activation, results: object = None) -> None:
        state = activation.loop
        assert state is not None
        if state.error:
            self.exit(activation, failure=state.error, is_handled=state.is_handled)
            return
        result = loops.aggregate(state, state.results if results is None else results)
        payload = {"iterations": len(state.values), "results": result["results"]}
        self.report_of(activation, EventName.LOOP_DONE, payload)
        effects = self.offer(
            activation, None, Happened(EventName.LOOP_DONE, payload, result=result)
        )
        failure = effects.failure if effects else None
        is_handled = effects is not None and not effects.is_broken
        self.exit(activation, result=result, failure=failure, is_handled=is_handled)


def _split(step: Step) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
    """Return the arguments of a step that it renders once, and those that each item renders."""
    names = names_of_loop(step.loop)
    of_items = {key: value for key, value in step.args.items() if names and _uses(value, names)}
    return {key: value for key, value in step.args.items() if key not in of_items}, of_items


def _uses(value: Json, names: tuple[str, ...]) -> bool:
    if isinstance(value, str):
        return any(name in compile_text(value, blocks=True).names for name in names)
    if isinstance(value, Mapping):
        return any(_uses(item, names) for item in value.values())
    return isinstance(value, list | tuple) and any(_uses(item, names) for item in value)
