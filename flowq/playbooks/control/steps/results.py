"""The result of a step: what its response is with the pages that were collected from it."""

from collections.abc import Mapping

from flowq.playbooks.control.state import Item
from flowq.playbooks.control.values import (
    Collected,
    Lazy,
    LazyResult,
    Loads,
    fields_of,
)
from flowq.tools.text import MISSING


def of_response(response: object, kind: str, loads: Loads) -> object:
    """Return a response as it is kept.

    Args:
        response: A value, or a lazy result of the engine.
        kind: Of the tool that gave it.
        loads: Keeps what is loaded of it.
    """
    if isinstance(response, Mapping | list | str | int | float | None):
        return response
    if isinstance(response, LazyResult):
        return Lazy(response, loads, is_envelope=kind == "http")
    return response


def result_of_item(item: Item) -> object:
    """Return the result of an item: what the document says, else its last response.

    A mapping gains `_pagination` and `_all_collected_items` when something was collected; with the
    second form of `collect` its body is all that was collected.
    """
    is_given = item.given is not MISSING
    result = item.given if is_given else None if item.response is MISSING else item.response
    if not item.pages:
        return result
    fields = fields_of(result)
    is_merging = item.is_merging and not is_given
    if fields is None:
        return Collected(item.collected) if is_merging else result
    if is_merging:
        fields["data"] = item.collected
    return {
        **fields,
        "_pagination": {"pages_collected": len(item.pages), "all_items": list(item.pages)},
        "_all_collected_items": item.collected,
    }
