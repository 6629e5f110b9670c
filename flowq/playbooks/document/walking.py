"""Walks over documents that may be wrong: steps, actions and transitions that can be recognised.

`rules` needs them to report all problems at once, and `sugar` to rewrite what is right.
"""

from collections.abc import Iterator
from typing import Any

from flowq.core.text.json_values import JsonPath
from flowq.playbooks.document.actions import ORDER


def mappings(data: Any, *path: str | int) -> Iterator[tuple[JsonPath, dict[str, Any]]]:
    """Yield the mappings in the list at a path, with their paths."""
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    for at, one in enumerate(data if isinstance(data, list) else ()):
        if isinstance(one, dict):
            yield (*path, at), one


def actions(then: Any, path: JsonPath = ()) -> Iterator[tuple[JsonPath, str, Any]]:
    """Yield the actions of a `then` in the order in which they run."""
    if isinstance(then, dict):
        for name in ORDER:
            if name in then:
                yield (*path, name), name, then[name]
    elif isinstance(then, list):
        for at, one in enumerate(then):
            if isinstance(one, dict):
                for name in one:
                    yield (*path, at, name), name, one[name]


def targets(to: Any, path: JsonPath = ()) -> Iterator[tuple[JsonPath, str]]:
    """Yield the names of the steps that a `next` goes to."""
    if isinstance(to, str):
        yield path, to
    elif isinstance(to, dict):
        yield from targets(to.get("step"), (*path, "step")) if "step" in to else ()
    elif isinstance(to, list):
        for at, one in enumerate(to):
            if isinstance(one, str | dict):
                yield from targets(one, (*path, at))


def cases(step: dict[str, Any], path: JsonPath = ()) -> Iterator[tuple[JsonPath, dict[str, Any]]]:
    """Yield the entries of a step's `case`."""
    for at, one in mappings(step, "case"):
        yield (*path, *at), one


def step_targets(step: dict[str, Any], path: JsonPath = ()) -> Iterator[tuple[JsonPath, str]]:
    """Yield the names of the steps that a step can go to."""
    yield from targets(step.get("next"), (*path, "next"))
    for at, case in cases(step, path):
        for place, name, value in actions(case.get("then"), (*at, "then")):
            if name == "next" or (name == "call" and isinstance(value, dict) and "step" in value):
                yield from targets(value, place)


def sinking(data: Any) -> Iterator[tuple[JsonPath, dict[str, Any]]]:
    """Yield what has a `sink`: steps, tasks of the workbook, entries of `case` and of `retry`."""
    for path, task in mappings(data, "workbook"):
        yield from _sinking(task, path)
    for path, step in mappings(data, "workflow"):
        yield from _sinking(step, path)
        for at, case in cases(step, path):
            yield from _sinking(case.get("then"), (*at, "then"))
        for part, rule in mappings(step, "retry"):
            yield from _sinking(rule.get("then"), (*path, *part, "then"))


def _sinking(owner: Any, path: JsonPath) -> Iterator[tuple[JsonPath, dict[str, Any]]]:
    if isinstance(owner, dict) and "sink" in owner:
        yield path, owner
    for at, one in enumerate(owner if isinstance(owner, list) else ()):
        yield from _sinking(one, (*path, at)) if isinstance(one, dict) else ()
