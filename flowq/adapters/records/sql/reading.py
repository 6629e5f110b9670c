"""Parses the JSON columns of a run; raises when one cannot be read.

A row may be from a newer flowq, or have been changed by hand; its JSON may be nested too deeply.
Unknown keys are ignored, since a newer flowq may have added them. All else raises `RunUnreadable`,
which ends only that run. Pages show such a run without its graph.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from flowq.core.errors import RunUnreadable
from flowq.core.results import ResultRef
from flowq.core.spec import CallSpec, FlowSpec, StepKind

T = TypeVar("T")

#: pydantic's types of errors for a value that is not in an enumeration.
_UNKNOWN_WORD: Final = frozenset({"enum", "literal_error"})

_KINDS: Final = frozenset(StepKind)


def flow_spec(text: str) -> FlowSpec:
    """Return the spec of a run from its JSON; raises `RunUnreadable`."""
    return _read("its flow", lambda: FlowSpec.model_validate_json(text, extra="ignore"))


def shown_spec(text: str, flow_name: str) -> FlowSpec:
    """Return the spec of a run for people; if it cannot be read, one without steps."""
    try:
        return flow_spec(text)
    except RunUnreadable:
        return FlowSpec(name=flow_name, steps=())


def shown_kind(text: str | None) -> StepKind:
    """Return the kind of a call for people; an unknown kind is shown as a step."""
    return StepKind(text) if text in _KINDS else StepKind.STEP


def call_spec(spec: Any, inputs: Any) -> CallSpec:
    """Return the spec of a call; its arguments are the row's inputs. Raises `RunUnreadable`."""
    return _read(
        "what it has called",
        lambda: CallSpec.model_validate({**spec, "arguments": inputs or {}}, extra="ignore"),
    )


def result_ref(value: Any) -> ResultRef | None:
    """Return the reference of a result, if there is one; raises `RunUnreadable`."""
    if value is None:
        return None
    return _read("where a result is", lambda: ResultRef.model_validate(value, extra="ignore"))


def _read(what: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        first = errors[0]
        place = ".".join(map(str, first["loc"]))
        why = f"{place}: {first['msg']}" if place else first["msg"]
        newer = all(one["type"] in _UNKNOWN_WORD for one in errors)
        raise RunUnreadable(f"{what} cannot be read: {why}", newer=newer) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise RunUnreadable(f"{what} cannot be read: {type(error).__name__}: {error}") from None
