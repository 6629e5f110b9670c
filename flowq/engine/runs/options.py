"""The options of a run beside its inputs: user, idempotency key, deadline, metadata, priority.

All of them are stored in columns with limits, and a database's error about a value that does not
fit helps nobody. So they are checked here, before anything is traced or recorded.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass
from dataclasses import fields as fields_of
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from pydantic import BaseModel, RootModel
from pydantic_core import to_jsonable_python

from flowq.core.errors import InvalidInput
from flowq.core.graph import MAX_NAME_LENGTH
from flowq.core.limits.budgets import Budget, BudgetSpec, budget_of
from flowq.core.limits.queueing import MAX_PRIORITY
from flowq.core.references import SCALARS
from flowq.core.text.json_values import MAX_DEPTH, flaw, flaw_of_text, marked
from flowq.engine.results.codecs.annotations import as_path, shown
from flowq.engine.results.codecs.read_back import describe_difference, difference_of_form

#: A later time is a mistake: databases cannot add much more to their clocks.
_LONGEST = timedelta(days=36_500)


class SubmitOptions(TypedDict, total=False):
    """Options that may be given with the inputs of a run.

    Attributes:
        user_id: Whose run it is; 200 characters at most.
        metadata: JSON data to keep with the run.
        idempotency_key: A run of this flow that has this key is returned instead of a second one;
            200 characters at most.
        deadline: When the run must have ended: an aware datetime, or a timedelta from now by the
            database's clock.
        budget: What calls of models may cost in this run and its child runs; replaces the flow's
            budget.
        priority: From 0, the default, to 9, the most urgent: workers take messages of runs with a
            larger one first.
        delay: How long it waits before it begins, a timedelta.
        at: Or when it begins: an aware datetime; a past one is now.
        session: The caller's transaction; the run begins if and when it commits.
    """

    user_id: str | None
    metadata: Mapping[str, Any] | None
    idempotency_key: str | None
    deadline: datetime | timedelta | None
    budget: Budget | None
    priority: int | None
    delay: timedelta | None
    at: datetime | None
    session: object


@dataclass(frozen=True, slots=True)
class Submission:
    """Checked SubmitOptions, which fit their columns."""

    user_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    deadline: datetime | timedelta | None = None
    budget: BudgetSpec | None = None
    priority: int = 0
    starts: datetime | timedelta | None = None

    @classmethod
    def of(cls, options: SubmitOptions, limit: int) -> "Submission":
        """Check what was given.

        Args:
            options: What was given.
            limit: Maximum bytes of metadata, as JSON.

        Raises:
            InvalidInput: something does not fit.
        """
        return cls(
            user_id=text_of("user_id", options.get("user_id")),
            metadata=_metadata(options.get("metadata"), limit),
            idempotency_key=text_of("idempotency_key", options.get("idempotency_key")),
            deadline=_deadline(options.get("deadline")),
            budget=budget_of(options.get("budget")),
            priority=_priority(options.get("priority")),
            starts=_starts(options.get("delay"), options.get("at")),
        )


def text_of(name: str, value: Any) -> str | None:
    """Return a text that fits a column of `MAX_NAME_LENGTH` characters in every database."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput(
            f"{name} is {shown(value)} ({type(value).__name__}), not text",
            hint=f"give {name}=str(…)",
        )
    quoted = repr(value) if len(value) <= MAX_NAME_LENGTH else f"{value[:40]!r}…"
    if not value:
        raise InvalidInput(
            f"{name} is empty", hint=f"leave {name} out, or give None, if there is none"
        )
    if len(value) > MAX_NAME_LENGTH:
        raise InvalidInput(
            f"{name} {quoted} has {len(value):,} characters, the limit is {MAX_NAME_LENGTH}",
            hint="use a digest of it: hashlib.sha256(text.encode()).hexdigest()",
        )
    if not is_storable(value):
        raise InvalidInput(f"{name} {quoted} has characters that databases cannot store")
    return value


def listed(given: Any, name: str) -> list[Any]:
    """Return the values given for many runs as a list.

    Raises:
        InvalidInput: it is none.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidInput(
            f"{name} are {shown(given)} ({type(given).__name__}), not a list",
            hint="give one for each run, e.g. [{…}, {…}]",
        )
    return list(given)


def is_storable(text: str) -> bool:
    """Return whether every database can store a text in a text column; JSON may also have NUL."""
    return "\0" not in text and flaw_of_text(text) is None


def _metadata(value: Any, limit: int) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"metadata is {shown(value)} ({type(value).__name__}), not a dict",
            hint='give e.g. metadata={"order": 7}',
        )
    return as_json(value, "the metadata of a run", limit)


def _deadline(value: Any) -> datetime | timedelta | None:
    if not isinstance(value, datetime | timedelta | None):
        raise InvalidInput(
            f"deadline is {shown(value)} ({type(value).__name__}), not a time",
            hint="give a timedelta, or a datetime with a time zone",
        )
    return _moment("deadline", value)


def _starts(delay: Any, at: Any) -> datetime | timedelta | None:
    if delay is not None and at is not None:
        raise InvalidInput("delay and at are given", hint="give one of them")
    for name, value, kind in (("delay", delay, timedelta), ("at", at, datetime)):
        if not isinstance(value, kind | None):
            raise InvalidInput(
                f"{name} is {shown(value)} ({type(value).__name__}), not a {kind.__name__}",
                hint="e.g. delay=timedelta(minutes=5), or at=datetime.now(UTC)",
            )
    return _moment("at", at) if at is not None else _moment("delay", delay)


def _moment(name: str, value: datetime | timedelta | None) -> datetime | timedelta | None:
    """Return a time that databases can store and compare with their clocks."""
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise InvalidInput(
            f"{name} {value!r} has no time zone", hint="e.g. datetime.now(UTC), or a timedelta"
        )
    if isinstance(value, datetime):
        try:
            value.astimezone(UTC)
        except OverflowError:
            raise InvalidInput(
                f"{name} {value!r} is outside the years 1 to 9999 in UTC",
                hint=f"give a timedelta, or leave the {name} out",
            ) from None
    if isinstance(value, timedelta) and not timedelta(0) < value <= _LONGEST:
        raise InvalidInput(
            f"{name} {value!r} is not between now and 100 years from now",
            hint=f"give a positive timedelta, or leave the {name} out",
        )
    return value


def _priority(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_PRIORITY:
        raise InvalidInput(
            f"priority is {shown(value)} ({type(value).__name__}), "
            f"not a whole number from 0 to {MAX_PRIORITY}",
            hint=f"0 is the default; {MAX_PRIORITY} is the most urgent, on every broker",
        )
    return value


def as_json(data: Mapping[str, Any], what: str, limit: int) -> Mapping[str, Any]:
    """Return data as the JSON values that a row stores.

    Raises:
        InvalidInput: it cannot be JSON, would change when it is read back by its own types, or has
            more than `limit` bytes as JSON.
    """
    recorded: Mapping[str, Any] = plain_of(dict(data), what)
    size_of(recorded, what, limit)
    return recorded


def inputs_as_json(data: Mapping[str, Any], what: str, limit: int) -> Mapping[str, Any]:
    """Return the inputs of a run like `as_json`, with marks for floats that JSON lacks.

    `RegisteredFlow.verify` checks by their annotations that they come back unchanged.
    """
    given = dict(data)
    recorded: Mapping[str, Any] = marked(_sets_sorted(given, _jsonable(given, what, inputs=True)))
    _refuse_flaw(recorded, what)
    size_of(recorded, what, limit)
    return recorded


def plain_of(value: Any, what: str) -> Any:
    """Return a value as JSON data from which its own types make the same value.

    Raises:
        InvalidInput: it has no such data.
    """
    plain = _jsonable(value, what)
    found = difference_of_form(value, plain)
    if found is not None:
        raise InvalidInput(
            f"{what} would change when it is stored: {describe_difference(found)}", hint=found.hint
        )
    recorded = _sets_sorted(value, plain)
    _refuse_flaw(recorded, what)
    return recorded


def _jsonable(value: Any, what: str, *, inputs: bool = False) -> Any:
    try:
        # Computed fields of inputs are left out: they are computed again.
        return to_jsonable_python(value, by_alias=False, round_trip=inputs)
    except (ValueError, TypeError, RecursionError) as error:  # pydantic's and Python's own
        raise InvalidInput(
            f"{what} cannot be stored as JSON: {error}",
            hint="pass plain data, pydantic models, dates or paths",
        ) from error


def _refuse_flaw(recorded: Any, what: str) -> None:
    found = flaw(recorded)
    if found is not None:
        place, why = found
        at = f"at {as_path(place)}: " if 0 < len(place) < MAX_DEPTH else ""
        raise InvalidInput(
            f"{what} cannot be stored as JSON: {at}it {why}",
            hint="for what may be passed, and in what form, type: flowq docs values",
        )


def size_of(recorded: Any, what: str, limit: int) -> int:
    """Return the bytes of data as JSON.

    Raises:
        InvalidInput: more than `limit`.
    """
    size = len(json.dumps(recorded).encode())
    if size > limit:
        raise InvalidInput(
            f"{what} have {size:,} bytes as JSON, the limit is {limit:,}",
            hint="pass a path or a URL instead, or raise FLOWQ_INPUT_LIMIT_BYTES",
        )
    return size


def _sets_sorted(value: Any, recorded: Any) -> Any:
    """Return the JSON of a value with its sets as sorted lists.

    Processes iterate over the same set in different orders; then two requests with one idempotency
    key would have different recorded inputs.
    """
    if isinstance(value, RootModel):
        return _sets_sorted(value.root, recorded)
    if isinstance(recorded, list) and isinstance(value, list | tuple | set | frozenset):
        if len(value) != len(recorded):  # a serialiser of the user changed it
            return recorded
        pairs = zip(value, recorded, strict=True)
        parts = [one if type(one) in SCALARS else _sets_sorted(own, one) for own, one in pairs]
        return sorted(parts, key=_text_of) if isinstance(value, set | frozenset) else parts
    if isinstance(recorded, dict):
        parts_of = _parts(value, recorded)
        return {
            name: _sets_sorted(parts_of[name], part) if name in parts_of else part
            for name, part in recorded.items()
        }
    return recorded


def _parts(value: Any, recorded: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parts of a value by their names in its JSON."""
    if isinstance(value, Mapping):
        # Keys become text, in order; 1 and "1" become the same key, and then nothing is known.
        same = len(value) == len(recorded)
        return dict(zip(recorded, value.values(), strict=True)) if same else {}
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        named = {field.serialization_alias or name: name for name, field in fields}
        return {key: getattr(value, name) for key, name in named.items()} | (
            value.model_extra or {}
        )
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields_of(value)}
    return {}


def _text_of(recorded: Any) -> str:
    return json.dumps(recorded, sort_keys=True)


def same_json(one: Any, other: Any) -> bool:
    """Return whether two JSON values are the same; 1, 1.0 and true are not."""
    return _text_of(one) == _text_of(other)
