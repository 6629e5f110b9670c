"""The nine actions of an entry of `case`: what each changes, and what it asks for.

`act` runs the actions of an entry in their order. Each is rendered when it runs, so it sees what
those before it have set and collected. Variables, results and transitions are changed at once; what
`Control` has to do (call again, begin branches, fail) is returned as `Effects`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flowq.core.errors import FlowqError
from flowq.playbooks.control.events import EventName, Failure
from flowq.playbooks.control.matching import CALL_EVENTS
from flowq.playbooks.control.names import Scope
from flowq.playbooks.control.rendering import (
    UNRENDERABLE,
    Fields,
    at_path,
    rendered,
    rendered_tool,
)
from flowq.playbooks.control.state import Activation, Item
from flowq.playbooks.control.values import Collected, body_of, existing, fields_of, follow, value_of
from flowq.playbooks.document.models import (
    Action,
    Branch,
    Call,
    Collect,
    Fail,
    Json,
    Next,
    Page,
    Result,
    Retry,
    Set,
    Sink,
    Skip,
)
from flowq.tools.text import MISSING, TemplateFailed


@dataclass(slots=True)
class Again:
    """The same call is made again.

    Attributes:
        overrides: Of the next page: what it has in place of the original fields. None for another
            attempt at the same page.
        most_pages: The limit of pages that the action gives.
        delay: Seconds before.
    """

    overrides: Mapping[str, Json] | None = None
    most_pages: int | None = None
    delay: float | None = None


@dataclass(slots=True)
class Effects:
    """What the actions of an entry ask for.

    Attributes:
        is_broken: Whether the failure is that an action could not be rendered.
        decisions: Names and payloads for the log.
    """

    again: Again | None = None
    failure: Failure | None = None
    is_broken: bool = False
    fails_workflow: bool = False
    is_skipped: bool = False
    branches: list[tuple[str, Mapping[str, Json]]] = field(default_factory=list)
    sinks: list[Sink] = field(default_factory=list)
    decisions: list[tuple[EventName, dict[str, Any]]] = field(default_factory=list)


@dataclass(slots=True)
class Acting:
    """The actions of one entry at one event."""

    activation: Activation
    item: Item | None
    event: EventName
    scope: Scope
    effects: Effects = field(default_factory=Effects)

    @property
    def ctx(self) -> dict[str, Any]:
        """The variables of the execution."""
        return self.scope.state.ctx

    def ignore(self, action: Action, why: str) -> None:
        """Report that an action does nothing here."""
        payload = {"action": action.kind, "event": str(self.event), "why": why}
        self.effects.decisions.append((EventName.ACTION_IGNORED, payload))


def act(
    actions: Sequence[Action],
    activation: Activation,
    item: Item | None,
    event: EventName,
    scope: Scope,
) -> Effects:
    """Run the actions of an entry, up to one whose texts cannot be rendered."""
    acting = Acting(activation, item, event, scope)
    for action in actions:
        try:
            _ACTIONS[type(action)](acting, action)
        except UNRENDERABLE as error:
            acting.effects.failure = failure_of(error, f"{action.kind} of {activation.step!r}")
            acting.effects.is_broken = True
            break
    return acting.effects


def failure_of(error: FlowqError, where: str) -> Failure:
    """Return the failure of a step whose texts cannot be rendered."""
    return Failure(f"{where}: {error.message}", type=type(error).__name__)


def _set(acting: Acting, action: Set) -> None:
    values = rendered(action.ctx, acting.scope)
    if isinstance(action.ctx, str):
        values = fields_of(values)
        if values is None:
            raise TemplateFailed(f"{action.ctx} gives no mapping")
    acting.ctx.update(values)
    if action.flags:
        known = fields_of(acting.ctx.get("flags")) or {}
        acting.ctx["flags"] = {**known, **rendered(action.flags, acting.scope)}


def _collect(acting: Acting, action: Collect) -> None:
    item = acting.item
    if action.is_merging_result:
        response = item.response if item else MISSING
        found = MISSING if response is MISSING else follow(body_of(response), action.path or "")
        value = existing(found)
    else:
        value = at_path(action.source, acting.scope)
    is_wrong = action.mode == "merge" and fields_of(value) is None
    if value is MISSING or is_wrong:
        where = action.path if action.is_merging_result else action.source
        acting.effects.decisions.append(
            (EventName.COLLECT_MISSED, {"from": where, "into": action.into})
        )
        return
    if action.into:
        acting.ctx[action.into] = _grown(acting.ctx.get(action.into, MISSING), value, action.mode)
    if item:
        item.pages.append(value)
        if action.mode == "replace":
            item.collected = Collected()
        item.collected.extend(value)
        item.is_merging = item.is_merging or action.is_merging_result


def _grown(known: object, value: object, mode: str) -> object:
    if mode == "replace":
        return value
    if mode == "merge":
        return {**(fields_of(known) or {}), **(fields_of(value) or {})}
    grown = known if isinstance(known, Collected) else Collected(known)
    if mode == "append":
        grown.append(value)
    else:
        grown.extend(value)
    return grown


def _result(acting: Acting, action: Result) -> None:
    value = result_of(action, acting.scope)
    if acting.item:
        acting.item.given = value
    else:
        acting.activation.given = value


def result_of(action: Result, scope: Scope) -> object:
    """Return what an action says the result is.

    Raises:
        TemplateFailed: it cannot be rendered.
    """
    if action.source is None:
        return rendered(action.literal, scope)
    value = at_path(action.source, scope)
    return None if value is MISSING else value


def _call(acting: Acting, action: Call | Page) -> None:
    most = action.max_attempts if isinstance(action, Page) else None
    if acting.item is None or acting.event not in CALL_EVENTS:
        acting.ignore(action, "no call is finished")
        return
    config = {
        key: rendered(value, acting.scope, fields=Fields()) for key, value in action.config.items()
    }
    acting.effects.again = Again(overrides=config, most_pages=most)


def _branch(acting: Acting, action: Branch) -> None:
    acting.effects.branches.append((action.step, rendered(action.args, acting.scope)))


def _retry(acting: Acting, action: Retry) -> None:
    if acting.item is None or acting.event not in CALL_EVENTS:
        acting.ignore(action, "no call is finished")
        return
    acting.effects.again = Again(delay=delay_of(action, acting.item.attempt))


def delay_of(action: Retry, attempt: int) -> float:
    """Return the seconds between an attempt and the next."""
    if action.backoff == "linear":
        delay = action.initial_delay * attempt
    else:
        try:
            delay = action.initial_delay * action.backoff_multiplier ** (attempt - 1)
        except OverflowError:
            delay = _LONGEST
    most = _LONGEST if action.max_delay is None else action.max_delay
    return min(delay, most, _LONGEST)


#: A year in seconds; no delay is longer.
_LONGEST: Final = 366 * 86_400.0


def _sink(acting: Acting, action: Sink) -> None:
    acting.effects.sinks.append(
        Sink(
            rendered_tool(action.tool, acting.scope, Fields()),
            rendered(action.args, acting.scope, fields=Fields()),
            action.on_error,
        )
    )


def _next(acting: Acting, action: Next) -> None:
    transitions = acting.activation.transitions
    for one in action.transitions:
        made = (one.step, rendered(one.args, acting.scope))
        is_of_item = acting.item is not None and acting.item.index is not None
        # Items of a loop go on once together, or each with its arguments.
        if not (is_of_item and not one.args and made in transitions):
            transitions.append(made)


def _fail(acting: Acting, action: Fail) -> None:
    message = value_of(rendered(action.message, acting.scope))
    acting.effects.failure = Failure(str(message), type="PlaybookFailure")
    acting.effects.fails_workflow = action.fail_workflow


def _skip(acting: Acting, action: Skip) -> None:
    rendered(action.reason, acting.scope)
    if acting.event in (EventName.STEP_ENTER, EventName.LOOP_ITEM):
        acting.effects.is_skipped = True
    else:
        acting.ignore(action, "the call was made")


_ACTIONS: Final[Mapping[type, Callable[[Acting, Any], None]]] = {
    Set: _set,
    Collect: _collect,
    Result: _result,
    Call: _call,
    Branch: _branch,
    Retry: _retry,
    Page: _call,
    Sink: _sink,
    Next: _next,
    Fail: _fail,
    Skip: _skip,
}
