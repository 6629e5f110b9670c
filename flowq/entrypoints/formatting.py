"""Formats states, times and numbers, for terminals and for the pages of Flower."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeGuard

from flowq.core.results import user_place
from flowq.core.states import DONE_STEP_STATES, RunState, StepState
from flowq.core.text import amounts


@dataclass(frozen=True, slots=True)
class Mark:
    """How a state looks."""

    sign: str
    plain: str  #: The sign for terminals without Unicode.
    style: str


MARKS: Final[Mapping[str, Mark]] = {
    StepState.PENDING: Mark("·", ".", "dim"),
    StepState.QUEUED: Mark("○", "o", "dim"),
    StepState.RUNNING: Mark("●", "*", "cyan"),
    StepState.RETRYING: Mark("↻", "r", "yellow"),
    StepState.WAITING: Mark("◌", "w", "cyan"),
    StepState.COMPLETED: Mark("✓", "+", "green"),
    StepState.FAILED: Mark("✗", "x", "red"),
    StepState.SKIPPED: Mark("-", "-", "dim"),
    StepState.CANCELLED: Mark("⊘", "/", "dim"),
    RunState.PAUSED: Mark("‖", "=", "yellow"),
    RunState.CANCELLING: Mark("⊘", "/", "yellow"),
    "ok": Mark("✓", "+", "green"),
    "warning": Mark("!", "!", "yellow"),
    "problem": Mark("✗", "x", "red"),
}


def duration(seconds: float | None) -> str:
    """Return a duration as text."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ago(then: datetime | None) -> str:
    """Return how long ago something was."""
    if then is None:
        return ""
    seconds = max((datetime.now(UTC) - then).total_seconds(), 0.0)
    for length, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {name} ago"
    return f"{int(seconds)} s ago"


#: A UUIDv7 begins with its milliseconds, 13 characters, which child runs have in common with their
#: parent; what follows is random.
_SHORT = (18, 23)


def short_ids(ids: list[str]) -> list[str]:
    """Return the ids, shortened as far as they stay different."""
    for length in _SHORT:
        short = [one[:length] for one in ids]
        if len(set(short)) == len(ids):
            return short
    return ids


#: Dollars as text.
money: Final = amounts.money


def cost(known: Decimal, unpriced: int) -> str:
    """Return the cost of model calls, and how many of them have an unknown cost.

    Args:
        known: The sum of those whose cost is known.
        unpriced: How many calls are not in it.
    """
    if not unpriced:
        return money(known)
    return f"{money(known)} + {count(unpriced)} unknown" if known else "unknown"


def count(number: int) -> str:
    """Return a whole number."""
    return f"{number:,}"


def outcomes(counts: Mapping[StepState, int]) -> str:
    """Return how many of several steps have ended, each outcome by its name once one is not good.

    A step that failed has ended too, so "4 of 8" alone would count it with those that completed.
    """
    bad = [state for state in (StepState.FAILED, StepState.CANCELLED) if counts.get(state)]
    total = count(sum(counts.values()))
    if not bad:
        return f"{count(sum(counts.get(state, 0) for state in DONE_STEP_STATES))} of {total}"
    good = [StepState.COMPLETED, *([StepState.SKIPPED] if counts.get(StepState.SKIPPED) else [])]
    words = [f"{count(counts.get(state, 0))} {state}" for state in [*good, *bad]]
    return f"{', '.join(words)} of {total}"


def size(number: int) -> str:
    """Return a number of bytes."""
    for length, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if number >= length:
            return f"{number / length:.1f} {name}"
    return "1 byte" if number == 1 else f"{number} bytes"


#: Of JSON data on a screen.
_MAX_TEXT_LENGTH: Final = 400
_MAX_ITEMS: Final = 40


def shortened(data: Any) -> Any:
    """Return JSON data with long texts and lists truncated."""
    if isinstance(data, str) and len(data) > _MAX_TEXT_LENGTH:
        return f"{data[:_MAX_TEXT_LENGTH]}… ({len(data):,} characters)"
    if isinstance(data, dict):
        kept = {key: shortened(data[key]) for key in list(data)[:_MAX_ITEMS]}
        return kept if len(data) <= _MAX_ITEMS else {**kept, "…": f"{len(data):,} keys"}
    if isinstance(data, list):
        kept_items = [shortened(item) for item in data[:_MAX_ITEMS]]
        return kept_items if len(data) <= _MAX_ITEMS else [*kept_items, f"… {len(data):,} items"]
    return data


_PLACES: Final = re.compile(r'^  File "(.+)", line (\d+)(?:, in (.+))?$', re.MULTILINE)


def place(traceback: str | None) -> str | None:
    """Return where in the user's code an error was raised."""
    found = _PLACES.findall(traceback or "")
    return user_place([(file, int(line), name) for file, line, name in found])


_RELATIONS: Final = {"cause": "caused by", "context": "raised while handling", "member": "with"}


def causes(found: object) -> list[str]:
    """Return the causes of an error, and the members of a group, one per line.

    Args:
        found: The `causes` of a failed step's metadata.
    """
    return [_cause(one) for one in found if isinstance(one, dict)] if _is_list(found) else []


def _is_list(found: object) -> TypeGuard[list[object]]:
    return isinstance(found, list)


def _cause(one: Mapping[str, Any]) -> str:
    said = ": ".join(str(one[name]) for name in ("error_type", "message") if one.get(name))
    place = f", at {one['place']}" if one.get("place") else ""
    return f"{_RELATIONS.get(str(one.get('relation')), 'caused by')} {said}{place}"
