"""What templates see at one event: names by their precedence.

    1  the loop's iterator, `loop_index`, `loop`
    2  `event workload args ctx vars execution_id job response error result`
    3  keys of `args`
    4  steps that have ended
    5  keys of `ctx`
    6  keys of `workload`
    7  `now()` and `uuid()`

Names are looked up when a template uses them, so the number of steps and variables costs nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowq.playbooks.control.events import EventName
from flowq.playbooks.control.state import Activation, ExecutionState, Item
from flowq.playbooks.control.values import Given, made, shown
from flowq.playbooks.document.models import Json, Loop
from flowq.tools.text import MISSING

#: Names that are known on the worker only.
SECRET_NAMES: Final = frozenset(("secret", "auth", "keychain"))
#: Names that a loop gives, beside its iterator.
LOOP_NAMES: Final = ("loop_index", "loop")


@dataclass(slots=True)
class Scope:
    """The names at one event.

    Attributes:
        own: Names of precedence 1 and 2.
        functions: `now` and `uuid`.
    """

    state: ExecutionState
    own: dict[str, object]
    args: Mapping[str, Json]
    functions: Mapping[str, object] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Return the value of a name, or `MISSING`."""
        for values in (self.own, self.args):
            if name in values:
                return made(values[name])
        if name in self.state.step_results:
            return shown(self.state.step_results[name])
        if name in self.state.ctx:
            return made(self.state.ctx[name])
        for given in (self.state.workload, self.functions):
            if name in given:
                return given[name]
        return MISSING

    def pick(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the values of those names that are known, sorted by name."""
        found = ((name, self.get(name)) for name in sorted(names))
        return {name: value for name, value in found if value is not MISSING}


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a step, as its templates see it."""

    name: EventName
    payload: Mapping[str, object] = field(default_factory=dict)
    response: object = MISSING
    result: object = MISSING
    error: Mapping[str, Any] | None = None


def scope_of(
    state: ExecutionState,
    activation: Activation,
    item: Item | None,
    happened: Happened,
    *,
    loop: Loop | None,
    functions: Mapping[str, object],
) -> Scope:
    """Return what templates of a step see when something has happened to it."""
    args = item.args if item else activation.args
    own: dict[str, object] = {
        "event": {
            "name": str(happened.name),
            "step": activation.step,
            "payload": happened.payload,
            "attempt": item.attempt if item else activation.attempt,
            "page": item.page if item else 1,
            "collected": shown(item.collected) if item else [],
        },
        "workload": Given(state.workload),
        "args": args,
        "ctx": state.ctx,
        "vars": state.ctx,
        "execution_id": state.execution_id,
        "job": dict.fromkeys(("uuid", "id", "execution_id"), state.execution_id),
    }
    for name in ("response", "result"):
        value = getattr(happened, name)
        if value is not MISSING:
            own[name] = shown(value)
    if happened.error is not None:
        own["error"] = happened.error
    if loop and item and item.index is not None:
        own |= _of_loop(activation, item, loop.iterator)
    return Scope(state, own, args, functions)


def _of_loop(activation: Activation, item: Item, iterator: str) -> dict[str, object]:
    length = len(activation.loop.values) if activation.loop else 0
    index = item.index or 0
    of_loop = {"index": index, "first": index == 0, "length": length, "done": index + 1 == length}
    return {iterator: item.value, "loop_index": index, "loop": of_loop}


def names_of_loop(loop: Loop | None) -> tuple[str, ...]:
    """Return the names that only an item of a loop has."""
    return (loop.iterator, *LOOP_NAMES) if loop else ()
