"""The state of an execution as JSON, for stores outside of the process.

    decoded(encoded(state)) == state

Objects are mappings with their type at `$`; only the types that are listed here can be read, so
a store that others can write to runs no code of theirs.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from flowq.core.errors import InvalidInput
from flowq.core.references import Concat, Reference
from flowq.playbooks.control.commands import Deferred
from flowq.playbooks.control.events import Decision, EventName, Failure
from flowq.playbooks.control.state import Activation, Arrival, ExecutionState, Item, LoopState
from flowq.playbooks.control.values import Collected, Shown
from flowq.playbooks.document.models import Sink, Task, Tool
from flowq.tools.text import MISSING

_TYPE: Final = "$"
_CLASSES: Final[Mapping[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        *(ExecutionState, Activation, Arrival, Item, LoopState, Failure, Decision),
        *(Tool, Task, Sink, Deferred, Reference, Concat),
    )
}


def encoded(state: ExecutionState) -> str:
    """Return a state as JSON.

    Raises:
        InvalidInput: it has a value that is none.
    """
    return json.dumps(_encoded(state), ensure_ascii=False, separators=(",", ":"))


def decoded(text: str | bytes) -> ExecutionState:
    """Return the state of some JSON.

    Raises:
        InvalidInput: it is no state, or one of another version of flowq.
    """
    try:
        found = _decoded(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"this is no state of an execution: {error}") from error
    if not isinstance(found, ExecutionState):
        raise InvalidInput(f"this is no state of an execution: it is a {type(found).__name__}")
    return found


def _encoded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, Mapping):
        if _TYPE not in value and all(type(key) is str for key in value):
            return {key: _encoded(item) for key, item in value.items()}
        return {_TYPE: "mapping", "of": [[_encoded(k), _encoded(v)] for k, v in value.items()]}
    return _tagged(value)


def _tagged(value: Any) -> dict[str, Any]:
    name = type(value).__name__
    if _CLASSES.get(name) is type(value):
        data = {one.name: _encoded(getattr(value, one.name)) for one in fields(value)}
        return {_TYPE: name, **data}
    if value is MISSING:
        return {_TYPE: "missing"}
    for kind, tag, plain in _WRITERS:
        if isinstance(value, kind):
            return {_TYPE: tag, "of": _encoded(plain(value))}
    raise InvalidInput(f"a state cannot be stored with a {name}")


_WRITERS: Final[tuple[tuple[type[Any], str, Callable[[Any], Any]], ...]] = (
    (tuple, "tuple", list),
    (EventName, "event", str),
    (datetime, "datetime", datetime.isoformat),
    (Collected, "collected", lambda value: value.parts),
    (Shown, "shown", lambda value: value.value),
)


def _collected(parts: Any) -> Collected:
    found = Collected()
    found.parts = _decoded(parts)
    return found


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "mapping": lambda pairs: {_decoded(key): _decoded(item) for key, item in pairs},
    "missing": lambda _: MISSING,
    "tuple": lambda items: tuple(map(_decoded, items)),
    "event": EventName,
    "datetime": datetime.fromisoformat,
    "collected": _collected,
    "shown": lambda value: Shown(_decoded(value)),
}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _TYPE not in value:
        return {key: _decoded(item) for key, item in value.items()}
    name = value[_TYPE]
    if name in _READERS:
        return _READERS[name](value.get("of"))
    data = {key: _decoded(item) for key, item in value.items() if key != _TYPE}
    return _CLASSES[name](**data)
