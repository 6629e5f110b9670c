"""Operations on nested data: `get`, `delete`, `append` and the others of `edit_structured`. Pure.

An operation takes the present data and its parameters and returns the new data; the input of the
edge is not changed. A path is a list of keys and indices; `["*"]` and `[]` are the root. A path to
a missing part changes nothing. A path through a text or a number is an error.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, Final

from flowq.blocks.errors import Code, EdgeFailed

#: Items that `set_value` adds to a list to reach its index.
MOST_NEW: Final = 100_000
_VARIABLE: Final = re.compile(r"\{\{([^{}]*)\}\}")
_Params = Mapping[str, Any]


def apply(data: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """Return data after operations, one after another.

    Raises:
        EdgeFailed: an operation is unknown, or a path goes on below what has no parts.
    """
    value = deepcopy(data)
    for operation in operations:
        name = operation.get("type")
        change = OPERATIONS.get(str(name))
        if change is None:
            known = ", ".join(OPERATIONS)
            raise EdgeFailed(Code.CONVERSION, f"unknown operation {name!r}; known are {known}")
        value = change(value, operation.get("params") or {})
    return value


class _Nowhere(LookupError):
    """A path leads nowhere."""


def _path(params: _Params, name: str = "path") -> list[str | int]:
    path = params.get(name, [])
    if not isinstance(path, list):
        raise EdgeFailed(Code.NESTED, f"{name} is {path!r}, not a list of keys and indices")
    return [] if path == ["*"] else path


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
        Code.NESTED, f"a {type(value).__name__} has no part {part!r}: the path goes on below it"
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


def _list_at(data: Any, params: _Params) -> list[Any] | None:
    """Return the list that a path leads to; None when it leads to none."""
    try:
        found = _at(data, _path(params))
    except _Nowhere:
        return None
    return found if isinstance(found, list) else None


def _get(data: Any, params: _Params) -> Any:
    try:
        return _at(data, _path(params))
    except _Nowhere:
        return params.get("default")


def _delete(data: Any, params: _Params) -> Any:
    path = _path(params)
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


def _append(data: Any, params: _Params) -> Any:
    target = _list_at(data, params)
    if target is not None:
        target.append(params.get("value"))
    return data


def _insert(data: Any, params: _Params) -> Any:
    target, index = _list_at(data, params), _index(params.get("index", 0))
    if target is not None and index is not None:
        target.insert(index, params.get("value"))
    return data


def _sort(data: Any, params: _Params) -> Any:
    target = _list_at(data, params)
    if target is not None:
        target[:] = in_order(target, reverse=bool(params.get("reverse")))
    return data


def in_order(values: list[Any], *, reverse: bool = False) -> list[Any]:
    """Return values sorted, or as they are when they cannot be compared with each other."""
    try:
        return sorted(values, reverse=reverse)
    except TypeError:
        return values


def _set_value(data: Any, params: _Params) -> Any:
    path = _path(params)
    if not path:
        return params.get("value")
    if not isinstance(data, dict | list):
        raise EdgeFailed(Code.NESTED, f"a {type(data).__name__} has no parts that can be set")
    parent = data
    for part, after in pairwise(path):
        missing: Any = [] if isinstance(after, int) else {}
        parent = _ensured(parent, part, missing)
    _put(parent, path[-1], params.get("value"))
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
    """Yield the paths to what has no parts, or lies `most` levels deep; -1 for all levels."""
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


def _get_keys(data: Any, params: _Params) -> list[list[str | int]]:
    return list(_paths(data, _depth(params)))


def _get_values(data: Any, params: _Params) -> list[Any]:
    return [_at(data, path) for path in _paths(data, _depth(params))]


def _depth(params: _Params) -> int:
    depth = params.get("max_depth", -1)
    if not isinstance(depth, int):
        raise EdgeFailed(Code.NESTED, f"max_depth is {depth!r}, not a number of levels or -1")
    return depth


def _variable_replace(data: Any, params: _Params) -> Any:
    plugins = params.get("plugins") or {}

    def put(value: Any) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda found: str(plugins.get(found[1], found[0])), value)
        if isinstance(value, dict):
            return {key: put(one) for key, one in value.items()}
        return [put(one) for one in value] if isinstance(value, list) else value

    return put(data)


def _set_operation(data: Any, params: _Params) -> Any:
    first, second = (_operand(data, params, number) for number in ("1", "2"))
    name = params.get("operation", params.get("operation_type", "union"))
    if name not in _SETS:
        known = ", ".join(_SETS)
        raise EdgeFailed(Code.CONVERSION, f"unknown set operation {name!r}; known are {known}")
    return in_order(_SETS[name](first, second))


def _operand(data: Any, params: _Params, number: str) -> list[Any]:
    """Return the distinct items of a list in their order, without those that have parts."""
    if f"value{number}" in params:
        found = params[f"value{number}"]
    else:
        found = _get(data, {"path": params.get(f"path{number}", [])})
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
OPERATIONS: Final[Mapping[str, Callable[[Any, _Params], Any]]] = {
    "get": _get,
    "delete": _delete,
    "append": _append,
    "insert": _insert,
    "sort": _sort,
    "set_value": _set_value,
    "get_keys": _get_keys,
    "get_values": _get_values,
    "variable_replace": _variable_replace,
    "set_operation": _set_operation,
}
