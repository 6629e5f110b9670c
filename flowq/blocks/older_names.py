"""Older names of settings, which documents of earlier editors have. Pure.

    then           thens, of a case of `ifelse`
    extra_config   extra_configs
    key            path, of an operation `get`; a text becomes a path of one part

Each is read as the present name if that is not there, with a warning.
"""

from collections.abc import Mapping
from typing import Any


def modern(key: str, edge: Any, warnings: list[str]) -> Any:
    """Return an edge with the present names of settings; a wrong shape is left as it is."""
    data = edge.get("data") if isinstance(edge, Mapping) else None
    if not isinstance(data, Mapping):
        return edge
    data = _renamed(data, "extra_config", "extra_configs", f"edge {key!r}", warnings)
    if isinstance(data.get("cases"), Mapping):
        cases = {
            name: _renamed(case, "then", "thens", f"edge {key!r}, case {name!r}", warnings)
            for name, case in data["cases"].items()
        }
        data = {**data, "cases": cases}
    extra = data.get("extra_configs")
    if isinstance(extra, Mapping) and isinstance(extra.get("operations"), list):
        operations = [_operation(key, one, warnings) for one in extra["operations"]]
        data = {**data, "extra_configs": {**extra, "operations": operations}}
    return {**edge, "data": data}


def _renamed(part: Any, old: str, new: str, where: str, warnings: list[str]) -> Any:
    if not isinstance(part, Mapping) or old not in part or new in part:
        return part
    warnings.append(f"{where}: {old!r} is read as {new!r}")
    return {new if name == old else name: value for name, value in part.items()}


def _operation(key: str, operation: Any, warnings: list[str]) -> Any:
    """Return an operation; the `key` of a `get` is renamed to `path`."""
    if not isinstance(operation, Mapping) or operation.get("type") != "get":
        return operation
    params = operation.get("params")
    if not isinstance(params, Mapping) or not isinstance(params.get("key"), list | str):
        return operation
    params = _renamed(params, "key", "path", f"edge {key!r}, operation 'get'", warnings)
    path = params["path"]
    return {**operation, "params": {**params, "path": [path] if isinstance(path, str) else path}}
