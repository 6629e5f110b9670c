"""The items of a loop: which there are, how many run at once, and what they have made together.

A parallel loop whose entries of `case` need no single item is one `map` command; every other loop
is a call for each item, one after the other or up to `max_concurrency` at once.
"""

from collections.abc import Sequence
from typing import Any

from flowq.playbooks.control.commands import work_of
from flowq.playbooks.control.events import Failure
from flowq.playbooks.control.matching import needs_items
from flowq.playbooks.control.state import LoopState
from flowq.playbooks.control.values import Collected, Lazy, bare, elements, part, value_of
from flowq.playbooks.document.models import Json, Loop, Step
from flowq.tools.text import MISSING


def items_of(value: object) -> list[Json]:
    """Return the items of a loop: of a list each element, null has none, all else is one item."""
    known = value if isinstance(value, Collected) else value_of(value)
    if isinstance(known, Collected | list | tuple):
        return [bare(one) for one in elements(value)]
    return [] if known is None else [bare(value)]


def is_map(step: Step) -> bool:
    """Return whether the items of a step's loop are one command."""
    is_parallel = step.loop is not None and step.loop.mode == "parallel"
    return is_parallel and work_of(step.tool.kind) == "call" and not needs_items(step.case)


def at_once(loop: Loop) -> int:
    """Return how many items may be open."""
    return loop.max_concurrency if loop.mode == "parallel" else 1


def has_more(state: LoopState, loop: Loop) -> bool:
    """Return whether another item can begin now."""
    is_left = state.begun < len(state.values) and state.error is None
    return is_left and state.open < at_once(loop)


def has_ended(state: LoopState) -> bool:
    """Return whether no item is open, and none will begin."""
    return not state.open and (state.begun == len(state.values) or state.error is not None)


def succeeded(state: LoopState, index: int, result: object) -> None:
    """Keep the result of an item."""
    state.results[index] = bare(result)
    state.success += 1


def failed(
    state: LoopState, loop: Loop, index: int, failure: Failure, *, is_handled: bool = False
) -> None:
    """Keep the failure of an item; unless failures are collected, it fails the loop."""
    state.results[index] = {"error": failure.to_json()}
    state.failed += 1
    if loop.on_error == "fail" and state.error is None:
        state.error = failure
        state.is_handled = is_handled


def mapped(state: LoopState, loop: Loop, response: object) -> None:
    """Keep the results of a map; failures stand in it as `Failure`."""
    state.begun = len(state.values)
    if is_whole(response):
        state.success = len(state.values)
        return
    for index in range(len(state.values)):
        result = of_item(response, index)
        if isinstance(result, Failure):
            failed(state, loop, index, result)
        else:
            succeeded(state, index, result)


def is_whole(response: object) -> bool:
    """Return whether the response of a map is the list of results as it is."""
    return isinstance(response, Lazy) and not response.failures


def of_item(response: object, index: int) -> object:
    """Return the result of an item of a map, or its `Failure`."""
    if isinstance(response, Lazy) and index in response.failures:
        return response.failures[index]
    found = part(response, index)
    return None if found is MISSING else found


def aggregate(state: LoopState, results: object) -> dict[str, Any]:
    """Return the result of a loop.

    Args:
        state: Of the loop.
        results: In the order of the items.
    """
    stats = {"total": len(state.values), "success": state.success, "failed": state.failed}
    return {"results": results, "stats": stats}


def empty(values: Sequence[Json]) -> LoopState:
    """Return the state of a loop that has not begun."""
    return LoopState(values=list(values), results=[None] * len(values))
