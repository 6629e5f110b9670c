"""Operations on nested data: `get`, `delete`, `append` and the others of `edit_structured`. Pure.

An operation takes the present data and its parameters and returns the new data; the input of the
edge is not changed. A path is a list of keys and indices; `["*"]` and `[]` are the root. A path to
a missing part changes nothing. A path through a text or a number is an error.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, Final

from flowq.blocks.edges.parameters import (
    Delete,
    Depth,
    Get,
    Insert,
    Operation,
    Plugins,
    Put,
    Sets,
    Sort,
)
from flowq.blocks.edges.settings import (
    Flaw,
    Place,
    Settings,
    flaws,
    foreign_labels,
    of,
    unknown_name,
)
from flowq.blocks.errors import Code, EdgeFailed
from flowq.blocks.placeholders import PLACEHOLDER

#: Items that `set_value` adds to a list to reach its index.
MOST_NEW: Final = 100_000
#: What the names of parameters begin with in which placeholders are replaced.
VALUE: Final = "value"


def apply(data: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """Return data after operations, one after another.

    Raises:
        EdgeFailed: an operation is unknown, has wrong parameters, or a path asks for a part of
            what has none.
    """
    value = deepcopy(data)
    for given in operations:
        operation = of(Operation, given)
        if operation.type not in OPERATIONS:
            text = unknown_name("operation", operation.type, OPERATIONS)
            raise EdgeFailed(Code.CONVERSION, text)
        model, change = OPERATIONS[operation.type]
        value = change(value, of(model, operation.params))
    return value


def check(operations: Any, labels: Iterable[str], place: Place) -> Iterator[Flaw]:
    """Yield what is wrong with operations.

    Args:
        operations: What should be a list of them.
        labels: Of the inputs of the edge, for placeholders.
        place: Where they are in the settings of the edge.
    """
    if not isinstance(operations, list):
        yield Flaw(place, "it is not a list")
        return
    for number, operation in enumerate(operations):
        at = (*place, number)
        yield from flaws(Operation, operation, at)
        name = operation.get("type") if isinstance(operation, Mapping) else None
        params = operation.get("params", {}) if isinstance(operation, Mapping) else None
        if not isinstance(name, str) or not isinstance(params, Mapping):
            continue
        if name not in OPERATIONS:
            yield Flaw((*at, "type"), unknown_name("operation", name, OPERATIONS))
            continue
        yield from flaws(OPERATIONS[name][0], params, (*at, "params"))
        for key, value in params.items():
            if key.startswith(VALUE):
                yield from foreign_labels(value, labels, (*at, "params", key))


class _Nowhere(LookupError):
    """A path leads nowhere."""


def _step(value: Any, part: str | int) -> Any:
    """Return a part of data.

    Raises:
        _Nowhere: it has no such part.
        EdgeFailed: it can have no parts.
    """
    if isinstance(value, dict):
        key = part if part in value else str(part)
        if key not in value:
            raise _Nowhere
        return value[key]
    if isinstance(value, list):
        index = _index(part)
        if index is None or not -len(value) <= index < len(value):
            raise _Nowhere
        return value[index]
    raise EdgeFailed(
        Code.NESTED, f"a {type(value).__name__} has no parts: the path asks for {part!r} of it"
    )


def _index(part: Any) -> int | None:
    try:
        return int(part)
    except (TypeError, ValueError):
        return None


def _at(value: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        value = _step(value, part)
    return value


def _list_at(data: Any, path: Sequence[str | int]) -> list[Any]:
    """Return the list that a path leads to; an empty one, which is not in the data, if none."""
    try:
        found = _at(data, path)
    except _Nowhere:
        return []
    return found if isinstance(found, list) else []


def _get(data: Any, params: Get) -> Any:
    try:
        return _at(data, params.path)
    except _Nowhere:
        return params.default


def _delete(data: Any, params: Delete) -> Any:
    path = params.path
    if not path:
        return data
    try:
        parent = _at(data, path[:-1])
        _step(parent, path[-1])
    except _Nowhere:
        return data
    if isinstance(parent, dict):
        parent.pop(path[-1] if path[-1] in parent else str(path[-1]))
    else:
        parent.pop(int(path[-1]))
    return data


def _append(data: Any, params: Put) -> Any:
    _list_at(data, params.path).append(params.value)
    return data


def _insert(data: Any, params: Insert) -> Any:
    _list_at(data, params.path).insert(params.index, params.value)
    return data


def _sort(data: Any, params: Sort) -> Any:
    target = _list_at(data, params.path)
    target[:] = in_order(target, reverse=params.reverse)
    return data


def in_order(values: list[Any], *, reverse: bool = False) -> list[Any]:
    """Return values sorted, or as they are when they cannot be compared with each other."""
    try:
        return sorted(values, reverse=reverse)
    except TypeError:
        return values


def _set_value(data: Any, params: Put) -> Any:
    path = params.path
    if not path:
        return params.value
    if not isinstance(data, dict | list):
        raise EdgeFailed(Code.NESTED, f"a {type(data).__name__} has no parts that can be set")
    parent = data
    for part, after in pairwise(path):
        missing: Any = [] if isinstance(after, int) else {}
        parent = _ensured(parent, part, missing)
    _put(parent, path[-1], params.value)
    return data


def _ensured(parent: Any, part: str | int, missing: Any) -> Any:
    """Return a part of data, which is made when it is not there."""
    try:
        found = _step(parent, part)
    except _Nowhere:
        found = None
    if found is None:
        _put(parent, part, missing)
        found = missing
    return found


def _put(parent: Any, part: str | int, value: Any) -> None:
    if isinstance(parent, dict):
        parent[str(part)] = value
        return
    index = _index(part)
    if not isinstance(parent, list) or index is None or index < -len(parent):
        raise EdgeFailed(Code.NESTED, f"{part!r} of a {type(parent).__name__} cannot be set")
    if index - len(parent) >= MOST_NEW:
        raise EdgeFailed(
            Code.NESTED, f"the index {index:,} is more than {MOST_NEW:,} behind the end of its list"
        )
    parent.extend([None] * (index + 1 - len(parent)))
    parent[index] = value


def _paths(data: Any, most: int, path: tuple[str | int, ...] = ()) -> Iterator[list[str | int]]:
    """Yield the paths to values without parts, and to those `most` levels deep; -1: all."""
    parts: Any = ()
    if isinstance(data, dict):
        parts = data.items()
    elif isinstance(data, list):
        parts = enumerate(data)
    if not isinstance(data, dict | list) or len(path) == most:
        if path:
            yield list(path)
        return
    for key, value in parts:
        yield from _paths(value, most, (*path, key))


def _get_keys(data: Any, params: Depth) -> list[list[str | int]]:
    return list(_paths(data, params.max_depth))


def _get_values(data: Any, params: Depth) -> list[Any]:
    return [_at(data, path) for path in _paths(data, params.max_depth)]


def _variable_replace(data: Any, params: Plugins) -> Any:
    plugins = params.plugins

    def put(value: Any) -> Any:
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda found: str(plugins.get(found[1], found[0])), value)
        if isinstance(value, dict):
            return {key: put(one) for key, one in value.items()}
        return [put(one) for one in value] if isinstance(value, list) else value

    return put(data)


def _set_operation(data: Any, params: Sets) -> Any:
    given = params.model_fields_set
    first = params.value1 if "value1" in given else _get(data, Get(path=params.path1))
    second = params.value2 if "value2" in given else _get(data, Get(path=params.path2))
    return in_order(_SETS[params.operation](_distinct(first), _distinct(second)))


def _distinct(found: Any) -> list[Any]:
    """Return the distinct items of a list in their order, without those that have parts."""
    values = found if isinstance(found, list) else []
    # True and 1 are one to Python, and not to JSON.
    distinct = {(type(one), one): one for one in values if not isinstance(one, dict | list)}
    return list(distinct.values())


def _lacks(values: list[Any], one: Any) -> bool:
    return not any(type(one) is type(other) and one == other for other in values)


_SETS: Final[Mapping[str, Callable[[list[Any], list[Any]], list[Any]]]] = {
    "union": lambda a, b: [*a, *(one for one in b if _lacks(a, one))],
    "intersection": lambda a, b: [one for one in a if not _lacks(b, one)],
    "difference": lambda a, b: [one for one in a if _lacks(b, one)],
    "symmetric_difference": lambda a, b: [
        *(one for one in a if _lacks(b, one)),
        *(one for one in b if _lacks(a, one)),
    ],
}
#: From the name of an operation to its parameters and its function.
OPERATIONS: Final[Mapping[str, tuple[type[Settings], Callable[[Any, Any], Any]]]] = {
    "get": (Get, _get),
    "delete": (Delete, _delete),
    "append": (Put, _append),
    "insert": (Insert, _insert),
    "sort": (Sort, _sort),
    "set_value": (Put, _set_value),
    "get_keys": (Depth, _get_keys),
    "get_values": (Depth, _get_values),
    "variable_replace": (Plugins, _variable_replace),
    "set_operation": (Sets, _set_operation),
}
