"""The result of a step: what its response is with the pages that were collected from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from flowq.playbooks.control.events import Failure
from flowq.playbooks.control.state import Item
from flowq.playbooks.control.values import (
    Collected,
    Lazy,
    LazyResult,
    Loads,
    fields_of,
    size_within,
)
from flowq.tools.text import MISSING

#: A loaded result with no more characters as JSON is kept as it is.
_TINY: Final = 128


@dataclass(frozen=True, slots=True)
class MapResult:
    """The results of a map, in order.

    Attributes:
        failures: Of items, by index; what the list has in their places is not looked at.
    """

    results: LazyResult
    failures: Mapping[int, Failure] = field(default_factory=dict)


def of_response(response: object, kind: str, loads: Loads) -> object:
    """Return a response as it is kept.

    Args:
        response: A value, a lazy result of the engine, or a `MapResult`.
        kind: Of the tool that gave it.
        loads: Keeps what is loaded of it.
    """
    if isinstance(response, MapResult):
        value = response.results.load() if response.results.is_loaded else MISSING
        return Lazy(response.results, loads, value=value, failures=response.failures)
    if not isinstance(response, LazyResult):
        return response
    if not response.is_loaded:
        return Lazy(response, loads, is_result=True, is_envelope=kind == "http")
    value = response.load()
    if size_within(value, _TINY) is not None:
        return value
    return Lazy(response, loads, value=value, is_result=True)


def result_of_item(item: Item) -> object:
    """Return the result of an item: what the document says, else its last response.

    A mapping gains `_pagination` and `_all_collected_items` when something was collected; with the
    second form of `collect` its body is all that was collected.
    """
    is_given = item.given is not MISSING
    result = item.given if is_given else None if item.response is MISSING else item.response
    if not item.pages:
        return result
    known = fields_of(result)
    is_merging = item.is_merging and not is_given
    if known is None:
        return Collected(item.collected) if is_merging else result
    if is_merging:
        known["data"] = item.collected
    return {
        **known,
        "_pagination": {"pages_collected": len(item.pages), "all_items": list(item.pages)},
        "_all_collected_items": item.collected,
    }
