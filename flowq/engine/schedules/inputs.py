"""The inputs and options of a schedule's runs: stored once as JSON data, read for each tick.

The time of a tick goes into the input that the schedule names, in its time zone: as the text of a
time, or of a date if the input takes no time.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from flowq.core.errors import InvalidInput
from flowq.core.limits.budgets import Budget, budget_of
from flowq.core.schedules.spec import RunOptions, ScheduleSpec, metadata_of
from flowq.core.text.json_values import unmarked
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs.options import Submission, SubmitOptions, inputs_as_json


def recorded_inputs(
    flow: RegisteredFlow, inputs: Mapping[str, Any], time_input: str | None, limit: int
) -> dict[str, Any]:
    """Check the inputs of a schedule, and return them as JSON data.

    Args:
        flow: Its flow.
        inputs: Given inputs, by parameter.
        time_input: The input that gets the time of the tick; it is not among the given ones.
        limit: Maximum bytes, as JSON.

    Raises:
        InvalidInput: an input is wrong, or there is no such input for the time.
    """
    if not isinstance(inputs, Mapping):
        raise InvalidInput(
            f"the inputs of a schedule are {inputs!r}, not a dict", hint='e.g. {"x": 1}'
        )
    if time_input is None:
        checked = flow.validate(inputs)
    else:
        if time_input in inputs:
            raise InvalidInput(
                f"the input {time_input!r} is given, and it gets the time of the tick",
                hint="leave it out of the inputs",
            )
        sample = datetime.fromisoformat("2024-02-29T12:30:00+01:00")
        checked = _first_valid(flow.validate, _with_time(inputs, time_input, sample))
    recorded = inputs_as_json(checked, f"the inputs of {flow.name!r}", limit)
    flow.verify(checked, unmarked(recorded))
    return {name: value for name, value in recorded.items() if name in inputs}


def inputs_of_tick(flow: RegisteredFlow, spec: ScheduleSpec, tick: datetime) -> Mapping[str, Any]:
    """Return the inputs of the run of a tick, as stored data.

    Raises:
        InvalidInput: they are not what the flow takes.
    """
    inputs: Mapping[str, Any] = unmarked(dict(spec.inputs))
    if spec.time_input is None:
        return inputs
    candidates = _with_time(inputs, spec.time_input, tick.astimezone(spec.zone))
    for candidate in candidates[:-1]:
        try:
            flow.read(candidate)
        except InvalidInput:
            continue
        return candidate
    return candidates[-1]


def _with_time(inputs: Mapping[str, Any], name: str, tick: datetime) -> list[dict[str, Any]]:
    texts = tick.isoformat(), tick.date().isoformat()
    return [{**inputs, name: text} for text in texts]


def _first_valid(check: Any, candidates: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return the first checked inputs; the error is that of the time, which most inputs take."""
    first: InvalidInput | None = None
    for candidate in candidates:
        try:
            checked: Mapping[str, Any] = check(candidate)
        except InvalidInput as error:
            first = first or error
            continue
        return checked
    assert first is not None
    raise first


def run_options(options: SubmitOptions, limit: int) -> RunOptions:
    """Check the options of a schedule's runs.

    Raises:
        InvalidInput: one of them does not fit, or cannot be an option of a schedule.
    """
    for name in ("idempotency_key", "session", "delay", "at"):
        if options.get(name) is not None:
            raise InvalidInput(
                f"a schedule is given {name}",
                hint="it makes the key of each run and starts it at its tick; see its jitter",
            )
    deadline = options.get("deadline")
    if isinstance(deadline, datetime):
        raise InvalidInput(
            f"the deadline of a schedule is the time {deadline}",
            hint="give a timedelta: it counts from the start of each run",
        )
    fits = Submission.of(options, limit)
    assert fits.deadline is None or isinstance(fits.deadline, timedelta)
    return RunOptions(
        user_id=fits.user_id,
        metadata=dict(fits.metadata),
        deadline=fits.deadline,
        budget=budget_of(options.get("budget")),
        priority=fits.priority,
    )


def submit_options(spec: ScheduleSpec, tick: datetime, key: str) -> SubmitOptions:
    """Return the options with which the run of a tick is submitted."""
    given = spec.options
    return SubmitOptions(
        user_id=given.user_id,
        metadata=metadata_of(spec, tick),
        deadline=given.deadline,
        budget=cast(Budget | None, given.budget),  # checked budgets are taken, too
        priority=given.priority,
        idempotency_key=key,
    )
