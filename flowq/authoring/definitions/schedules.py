"""`flowq.schedule`: a flow that runs at certain times, declared in the module of the flow.

A declaration does no I/O: the workers that import the module record it when they start. What can
never work is refused here, at the line that declares it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, Unpack, cast

from flowq.authoring.calls.options import Duration, duration
from flowq.authoring.calls.tracing import caller
from flowq.authoring.definitions.base_flow import BaseFlow
from flowq.authoring.definitions.flows import Flow
from flowq.core.errors import InvalidInput
from flowq.core.schedules.spec import CatchUp, Overlap, ScheduleSpec, checked, choice
from flowq.engine.registry.registry import DeclaredSchedule, registry
from flowq.engine.runs.options import SubmitOptions
from flowq.engine.schedules.inputs import recorded_inputs, run_options

#: Bytes of inputs and metadata, as JSON; the limit of runs is a setting of the workers.
_LIMIT: Final = 1024 * 1024


class ScheduleOptions(SubmitOptions, total=False):
    """Options of a schedule, and of its runs.

    Attributes:
        cron: A cron expression: minute, hour, day of month, month, day of week.
        every: Instead of `cron`, an interval of one second or more, as a timedelta or in seconds.
        timezone: The time zone of the expression, by its IANA name.
        inputs: The inputs of each run, by name.
        time_input: The name of the input that gets the time of the tick, in the time zone.
        catch_up: What happens to ticks that no worker started in time: none of them starts a run,
            the last one does, or all do.
        catch_up_limit: The most missed ticks that are started, or wait: the latest ones.
        overlap: What happens to a tick while a run of the schedule is open: it is skipped, it waits
            for the end of that run, it starts a second one, or that run is cancelled first.
        jitter: The longest delay of a tick; each tick has its own, which is the same everywhere.
        starts_at: The first possible tick; an aware time. An interval is counted from it.
        ends_at: The last possible tick; an aware time.
        user_id, metadata, budget, priority, deadline: Of each run, as for `enqueue`.
    """

    cron: str | None
    every: Duration | None
    timezone: str
    inputs: Mapping[str, Any]
    time_input: str | None
    catch_up: Literal["none", "last", "all"]
    catch_up_limit: int
    overlap: Literal["skip", "queue", "allow", "cancel_running"]
    jitter: Duration
    starts_at: datetime | None
    ends_at: datetime | None


def schedule(
    name: str, flow: Flow[..., Any] | type[BaseFlow], **options: Unpack[ScheduleOptions]
) -> ScheduleSpec:
    """Declare that a flow runs at certain times.

        flowq.schedule("nightly", codebase, cron="0 2 * * *", timezone="Europe/Berlin")

    Args:
        name: The unique name of the schedule, of at most 120 characters.
        flow: The flow, or a `BaseFlow` class.
        options: When it runs, with what inputs, and more; see `ScheduleOptions`.

    Returns:
        The schedule, as it is recorded.

    Raises:
        InvalidInput: a value is wrong, or the flow does not take the inputs.
        InvalidFlow: a duration is invalid, or another place declares a schedule of that name.
    """
    spec = spec_of(name, flow, options)
    registry.add_schedule(DeclaredSchedule(spec, caller()))
    return spec


def spec_of(name: str, flow: Any, options: ScheduleOptions) -> ScheduleSpec:
    """Return the checked schedule of a flow; raises as `schedule`."""
    found = getattr(flow, "flow", None) if isinstance(flow, type) else flow
    if not isinstance(found, Flow):
        raise InvalidInput(
            f"schedule {name!r} is given {flow!r}, which is not a flow ({caller()})",
            hint="give a function with @flow, or a BaseFlow class",
        )
    unknown = sorted(options.keys() - ScheduleOptions.__annotations__.keys())
    if unknown:
        raise InvalidInput(
            f"schedule {name!r} is given {', '.join(unknown)}, which is no option ({caller()})",
            hint=f"one of: {', '.join(ScheduleOptions.__annotations__)}",
        )
    every, time_input = options.get("every"), options.get("time_input")
    inputs = recorded_inputs(found.type, options.get("inputs", {}), time_input, _LIMIT)
    merged = cast(SubmitOptions, {**found.submission, **options})
    spec = ScheduleSpec(
        name=name,
        flow_name=found.type.name,
        cron=options.get("cron"),
        every=None if every is None else duration(every, "every"),
        timezone=options.get("timezone", "UTC"),
        inputs=inputs,
        time_input=time_input,
        options=run_options(merged, _LIMIT),
        catch_up=choice(CatchUp, "catch_up", options.get("catch_up", CatchUp.LAST)),
        catch_up_limit=options.get("catch_up_limit", 100),
        overlap=choice(Overlap, "overlap", options.get("overlap", Overlap.SKIP)),
        jitter=duration(options.get("jitter", 0), "jitter"),
        starts_at=options.get("starts_at"),
        ends_at=options.get("ends_at"),
    )
    return checked(spec)
