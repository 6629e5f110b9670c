"""What a command carries: JSON in which results of other calls are named, not copied.

A result, or a part of one, becomes a `Reference`, and a collected list a `Concat` of its parts.
Short ones are copied, so that a row shows them: up to 1 KiB each, and up to 16 KiB in all. Data
that a document holds or makes has no name and is always copied.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from flowq.core.references import Concat
from flowq.playbooks.control.commands import Deferred
from flowq.playbooks.control.values import Collected, Lazy, Standing, bare, size_within
from flowq.playbooks.document.models import Json

#: Characters of a result, or of a part of one, that is copied.
_SHORT: Final = 1024
#: Characters of all results that one argument of a command may copy.
_MOST: Final = 16 * 1024


@dataclass(slots=True)
class _Copies:
    """How many characters of results may still be copied; negative when they are too many."""

    left: int

    def take(self, value: Lazy) -> bool:
        """Return whether a result is copied."""
        size = size_within(value.value, _SHORT) if value.is_loaded and self.left >= 0 else None
        if size is None:
            return False
        self.left -= size
        return self.left >= 0


def argument(value: Json) -> Json:
    """Return what a command carries of a value."""
    copies = _Copies(_MOST)
    carried = _carried(value, copies)
    # Either all short ones are copied or none is: which ones fit would depend on their order.
    return carried if copies.left >= 0 else _carried(value, _Copies(-1))


def _carried(value: Json, copies: _Copies) -> Json:
    if isinstance(value, Standing):
        return _named(value, copies)
    if isinstance(value, Deferred):
        return replace(value, names=_carried(value.names, copies))
    if isinstance(value, Mapping):
        return {key: _carried(item, copies) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_carried(item, copies) for item in value]
    return value


def _named(value: Standing, copies: _Copies) -> Json:
    if isinstance(value, Lazy):
        return value.value if copies.take(value) else value.reference
    if not isinstance(value, Collected):
        return _carried(bare(value), copies)
    parts = [_carried(one, copies) for one in value.parts]
    if all(isinstance(one, list) for one in parts):
        return [element for one in parts for element in one]
    return Concat(tuple(parts))
