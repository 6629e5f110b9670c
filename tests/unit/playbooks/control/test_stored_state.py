"""The state of an execution as JSON: what comes back, and what is refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from flowq.core.errors import InvalidInput
from flowq.core.references import Concat, Reference
from flowq.playbooks.control.commands import Deferred
from flowq.playbooks.control.events import Decision, EventName, Failure
from flowq.playbooks.control.state import Activation, Arrival, ExecutionState, Item, LoopState
from flowq.playbooks.control.stored_state import decoded, encoded
from flowq.playbooks.document.models import Sink, Task, Tool
from flowq.tools.text import MISSING


def kept(value: Any) -> Any:
    """Return what a variable is after its state was stored."""
    return decoded(encoded(ExecutionState("e", {}, ctx={"value": value}))).ctx["value"]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 1, 2**70, 1.5, "ä \ud800", [1, [2]], {"a": {"b": None}}, (1, ("a",)), [], {}),
        *({"$": "Tool", "of": 1}, {1: 2}, {None: (1, 2)}, {"$": {"$": 1}}),
        datetime(2026, 1, 2, tzinfo=UTC),
        EventName.CALL_DONE,
        Failure("no", "Refused", 503, {"a": 1}),
        Deferred("{{ secret.x }}", {"a": [1]}),
        Concat((Reference("a#1", ("b", 0)),)),
        Decision(EventName.STEP_EXIT, "a", {"b": 1}),
        Task("t", Tool("noop", {"a": 1}), Sink(Tool("noop")), expects=("a",)),
    ],
)
def test_values_come_back(value: Any) -> None:
    assert value == kept(value)
    assert type(value) is type(kept(value))


def test_a_state_comes_back_with_all_that_is_open() -> None:
    item = Item(0, {"n": 1}, args={"a": 1}, tool=Tool("http", {"endpoint": "x"}), given=None)
    loop = LoopState([1, 2], [None, MISSING], begun=1, open=1, error=Failure("no"))
    open_ = Activation(1, "start", {"a": 1}, loop=loop, items={0: item, None: Item()})
    open_.transitions.append(("b", {"c": 1}))
    state = ExecutionState("e", {"w": 1}, activations={1: open_}, open={7: (1, 0)}, version=3)
    state.kept.append(Arrival("b", {}))
    item.collected.append(1)

    found = decoded(encoded(state))

    again = found.activations[1]
    assert ({7: (1, 0)}, 3, [Arrival("b", {})]) == (found.open, found.version, found.kept)
    assert ({0, None}, [("b", {"c": 1})]) == (set(again.items), again.transitions)
    assert again.loop == loop
    assert again.loop is not None
    assert again.loop.results[1] is MISSING
    assert again.items[0].response is MISSING
    assert again.items[0].given is None
    assert [[1]] == again.items[0].collected.parts


@pytest.mark.parametrize(
    "text",
    ["", "{", "1", "[]", "{}", '{"$": "Path", "of": "/"}', '{"$": "Tool"}', '{"$": ["a"]}'],
)
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no state of an execution"):
        decoded(text)
    if text not in {"", "{"}:
        nested = json.loads(encoded(ExecutionState("e", {})))
        nested["error"] = json.loads(text)
        if text.startswith('{"$'):
            with pytest.raises(InvalidInput, match="no state of an execution"):
                decoded(json.dumps(nested))


def test_an_object_that_nothing_can_read_back_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be stored with a set"):
        kept({1})
