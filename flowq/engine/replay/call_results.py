"""From the end of a call to the value or exception that its await gives."""

from datetime import date, time, timedelta
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel

from flowq.core.errors import SignalTimeout, StepFailed
from flowq.core.references import Reference
from flowq.core.results import StepFailure
from flowq.core.spec import StepKind
from flowq.core.states import StepState
from flowq.engine.replay.values import CallEnded, LazyResult, ProgramCall
from flowq.engine.replay.waiting import CallFuture

#: Types of results that are copied when they are passed on. Others have no JSON form.
_COPIED: Final = (bool, int, float, list, dict, tuple, set, BaseModel, Enum, date, time, timedelta)
_LONG_TEXT: Final = 1024


class CallResults:
    """The results that a program passes on by reference, not by value."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, object]] = {}

    def add(self, key: str, value: object) -> None:
        """Remember which call returned this object, unless its type is copied."""
        if not (isinstance(value, LazyResult) or _is_copied(value)):
            # The object is kept, so that its id is not reused.
            self._known[id(value)] = (key, value)

    def reference_of(self, value: object) -> Reference | None:
        """Return a reference to the call that returned this object."""
        if isinstance(value, LazyResult):
            return value.reference
        known = self._known.get(id(value))
        return Reference(known[0]) if known else None


def _is_copied(value: object) -> bool:
    if value is None or isinstance(value, str):
        return value is None or len(value) < _LONG_TEXT
    return isinstance(value, _COPIED)


def resolve_future(future: CallFuture, ended: CallEnded, results: CallResults) -> None:
    """Resolve the future of a call with the call's end.

    Raises:
        Exception: the value could not be loaded.
    """
    if ended.state is StepState.COMPLETED:
        value: Any = ended.value
        if ended.load is not None and ended.lazy is not None:
            value = LazyResult(ended.key, ended.load, ended.lazy)
        elif ended.load is not None:
            value = ended.load()
        results.add(ended.key, value)
        future.set_result(value)
    elif ended.state is StepState.SKIPPED:
        future.set_result(None)
    elif future.call.spec.allow_failure:
        future.set_result(_failure(ended))
    else:
        future.set_exception(_error(future.call, ended))


def _failure(ended: CallEnded) -> StepFailure:
    return StepFailure(
        step=ended.key,
        error=ended.error_type or "StepError",
        message=ended.error_message or "",
        attempts=ended.attempts,
    )


def _error(call: ProgramCall, ended: CallEnded) -> Exception:
    cancelled = ended.state is StepState.CANCELLED
    if call.spec.kind is StepKind.SIGNAL and not cancelled:
        return SignalTimeout(f"the signal {call.spec.name!r} did not arrive within {call.delay}")
    said = ": ".join(part for part in (ended.error_type, ended.error_message) if part)
    return StepFailed(
        f"{ended.key} {'was cancelled' if cancelled else 'failed'}" + (f": {said}" if said else ""),
        step=ended.key,
        error=ended.error_type or ("StepCancelled" if cancelled else "StepError"),
        reason=ended.error_message or "",
        attempts=ended.attempts,
        details=ended.details,
    )
