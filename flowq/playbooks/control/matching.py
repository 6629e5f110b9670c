"""Which entry of `case` fires: the first that matches.

An entry that does not name `event` is tried when a call has ended, only then. After a failure only
entries are tried that name `error` or contain `call.error`: a failure is never taken for a success.
A condition that cannot be computed is false.

`event.name == '…'` is read from the condition itself, so that an entry for another event costs no
evaluation, and a loop knows whether its entries need its items one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from jinja2 import Environment, nodes

from flowq.core.errors import StepError
from flowq.playbooks.control.events import EventName
from flowq.playbooks.control.names import Scope
from flowq.playbooks.control.values import value_of
from flowq.playbooks.document.models import Call, Case, Page, Retry
from flowq.tools.text import InvalidTemplate, Text, compile_expression

CALL_EVENTS: Final = (EventName.CALL_DONE, EventName.CALL_ERROR)
ITEM_EVENTS: Final = (*CALL_EVENTS, EventName.LOOP_ITEM)
_FALSE: Final = ("", "false", "0", "no", "none")
_PARSER: Final = Environment(autoescape=False)  # noqa: S701 - it parses, and renders nothing


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled `when`.

    Attributes:
        events: The only events of which it can be true; None when it does not say.
        is_about_failures: Whether it may be tried after a failure.
    """

    text: Text
    events: tuple[str, ...] | None
    is_about_failures: bool

    def may_hold(self, event: str, *, failed: bool) -> bool:
        """Return whether it is tried on an event."""
        is_of_event = self.events is None or event in self.events
        return is_of_event and (self.is_about_failures or not failed)

    def holds(self, scope: Scope) -> bool:
        """Return whether it is true; what cannot be computed is not."""
        try:
            return is_true(self.text.render(scope.pick(self.text.names)))
        except StepError:
            return False


@lru_cache(maxsize=4096)
def condition(when: str) -> Condition | None:
    """Compile a condition, with or without `{{ }}`; None when it is no expression."""
    source = when.strip()
    if source.startswith("{{") and source.endswith("}}"):
        source = source[2:-2].strip()
    try:
        text = compile_expression(source)
    except InvalidTemplate:
        return None
    is_about_failures = "error" in text.names or EventName.CALL_ERROR in source
    if "event" not in text.names:
        return Condition(text, CALL_EVENTS, is_about_failures)
    output = _PARSER.parse(f"{{{{ {source} }}}}").body[0]
    assert isinstance(output, nodes.Output)
    return Condition(text, _events(output.nodes[0]), is_about_failures)


def _events(node: nodes.Node) -> tuple[str, ...] | None:
    """Return the only events of which an expression can be true, None for any."""
    if isinstance(node, nodes.And | nodes.Or):
        left, right = _events(node.left), _events(node.right)
        if isinstance(node, nodes.And):
            return left if right is None else right if left is None else _both(left, right)
        return None if left is None or right is None else (*left, *right)
    if isinstance(node, nodes.Compare) and len(node.ops) == 1 and _is_event_name(node.expr):
        operator, other = node.ops[0].op, node.ops[0].expr
        if operator == "eq" and isinstance(other, nodes.Const):
            return (str(other.value),)
        if operator == "in" and isinstance(other, nodes.List | nodes.Tuple):
            return _constants(other.items)
    return None


def _constants(items: Sequence[nodes.Expr]) -> tuple[str, ...] | None:
    if not all(isinstance(item, nodes.Const) for item in items):
        return None
    return tuple(str(item.as_const()) for item in items)


def _both(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for one in left if one in right)


def _is_event_name(node: nodes.Node) -> bool:
    if not isinstance(node, nodes.Getattr) or node.attr != "name":
        return False
    return isinstance(node.node, nodes.Name) and node.node.name == "event"


def needs_items(case: Sequence[Case]) -> bool:
    """Return whether some entry may fire on the events of single items of a loop."""
    return any(
        compiled is not None
        and (compiled.events is None or any(one in ITEM_EVENTS for one in compiled.events))
        for compiled in (condition(entry.when) for entry in case)
    )


def first_match(
    case: Sequence[Case], event: str, scope: Scope, *, failed: bool, attempt: int
) -> int | None:
    """Return the index of the entry that fires on an event.

    Args:
        case: The entries of a step.
        event: The name of the event.
        scope: What the conditions see.
        failed: Whether the call, or the step, has failed.
        attempt: The number of the attempt that has ended.
    """
    for index, entry in enumerate(case):
        compiled = condition(entry.when)
        if compiled is None or not compiled.may_hold(event, failed=failed):
            continue
        if _can_run(entry, event, failed=failed, attempt=attempt) and compiled.holds(scope):
            return index
    return None


def _can_run(entry: Case, event: str, *, failed: bool, attempt: int) -> bool:
    """Return whether an entry may repeat the call, if it asks to."""
    for action in entry.then:
        if isinstance(action, Retry) and attempt >= action.max_attempts and event in CALL_EVENTS:
            return False
        # There is no call to repeat any more: the failure must not look handled.
        if failed and event not in CALL_EVENTS and isinstance(action, Retry | Call | Page):
            return False
    return True


def is_true(value: Any) -> bool:
    """Return the truth of a condition's value; some texts are false."""
    value = value_of(value)
    return value.lower() not in _FALSE if isinstance(value, str) else bool(value)
