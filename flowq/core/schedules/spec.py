"""A schedule as a frozen value: which flow, when, with what inputs, and what else may happen.

A *tick* is a time at which a schedule starts a run. Ticks come from a cron expression in a time
zone, or from an interval. A tick that no worker started within `GRACE` is *missed*: `catch_up` says
what happens to it. A tick that is due while a run of the schedule is open *overlaps*: `overlap`
says what happens then.

`checked` refuses what can never work, when a schedule is declared or added. Inputs are checked
where the flow is known.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field

from flowq.core.errors import InvalidInput
from flowq.core.limits.budgets import BudgetSpec

#: A tick that was not started for longer than this is missed.
GRACE: Final = timedelta(seconds=60)
SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(days=3660)
MAX_CATCH_UP: Final = 1000
#: The idempotency key of a run has the name and the tick, in 200 characters.
MAX_NAME: Final = 120
#: What follows a name in an address over HTTP and in Flower, where names have slashes, too.
RESERVED_PARTS: Final = frozenset({"backfill", "pause", "resume", "run", "stop-backfill", "ticks"})
_FIELDS: Final = 5
_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_EXAMPLE: Final = 'e.g. cron="0 2 * * *": minute, hour, day of month, month, day of week'


class CatchUp(StrEnum):
    """What happens to missed ticks."""

    NONE = "none"  #: They are skipped.
    LAST = "last"  #: Only the last of them starts a run, if no later tick is due.
    ALL = "all"  #: Each of them starts a run, up to a limit.


class Overlap(StrEnum):
    """What happens to a tick while a run of the schedule is open."""

    SKIP = "skip"  #: It is skipped.
    QUEUE = "queue"  #: It waits until that run has ended.
    ALLOW = "allow"  #: It starts a run beside that one.
    CANCEL_RUNNING = "cancel_running"  #: That run is cancelled first.


class RunOptions(BaseModel):
    """The options of the runs that a schedule starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    deadline: timedelta | None = None  #: From the start of the run.
    budget: BudgetSpec | None = None
    priority: int = 0


class ScheduleSpec(BaseModel):
    """A schedule.

    Attributes:
        name: Its unique name.
        flow_name: The flow that it runs.
        cron: A cron expression of five fields; or
        every: an interval.
        timezone: The IANA name of the zone in which the expression is read.
        inputs: The inputs of each run, as JSON data.
        time_input: The input that is given the time of the tick, if one is.
        options: The options of each run.
        catch_up: What happens to missed ticks.
        catch_up_limit: How many of them are made up for, or wait, at most: the latest ones.
        overlap: What happens while a run of it is open.
        jitter: Each tick is started later by a part of this, which its name and time determine.
        starts_at: The first possible tick.
        ends_at: The last possible tick.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    flow_name: str
    cron: str | None = None
    every: timedelta | None = None
    timezone: str = "UTC"
    inputs: dict[str, Any] = Field(default_factory=dict)
    time_input: str | None = None
    options: RunOptions = RunOptions()
    catch_up: CatchUp = CatchUp.LAST
    catch_up_limit: int = 100
    overlap: Overlap = Overlap.SKIP
    jitter: timedelta = timedelta(0)
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @property
    def digest(self) -> str:
        """The digest of all of it: equal for equal schedules."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return sha256(text.encode()).hexdigest()

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of its ticks."""
        return ZoneInfo(self.timezone)

    @property
    def timing(self) -> str:
        """When it runs, for people."""
        if self.cron is not None:
            return f"{self.cron} ({self.timezone})"
        assert self.every is not None
        seconds = self.every.total_seconds()
        unit, size = next((one for one in _UNITS if seconds % one[1] == 0), _UNITS[-1])
        count = seconds / size
        return f"every {unit}" if count == 1 else f"every {count:g} {unit}s"


def checked(spec: ScheduleSpec) -> ScheduleSpec:
    """Return a schedule that can work, with its times in UTC and its expression in one form.

    Raises:
        InvalidInput: a value is wrong, or two of them exclude each other.
    """
    _check_name(spec.name)
    if (spec.cron is None) == (spec.every is None):
        given = "both cron and every" if spec.cron is not None else "neither cron nor every"
        raise _wrong(
            spec, f"has {given}", 'give one: cron="0 2 * * *", or every=timedelta(hours=1)'
        )
    _check_zone(spec)
    changes: dict[str, Any] = {}
    for name in ("starts_at", "ends_at"):
        changes[name] = _utc(spec, name, getattr(spec, name))
    if spec.cron is not None:
        changes["cron"] = _cron(spec, spec.cron)
    elif spec.every is not None and not SHORTEST <= spec.every <= LONGEST:
        raise _wrong(spec, f"has every={spec.every!s}", f"give {SHORTEST} to {LONGEST.days} days")
    _check_jitter(spec)
    _check_policies(spec)
    done = spec.model_copy(update=changes)
    if done.starts_at and done.ends_at and done.ends_at < done.starts_at:
        raise _wrong(spec, f"ends at {done.ends_at}, before it starts at {done.starts_at}", None)
    return done


def _wrong(spec: ScheduleSpec, what: str, hint: str | None) -> InvalidInput:
    return InvalidInput(f"schedule {spec.name!r} {what}", hint=hint)


def _check_name(name: str) -> None:
    fits = 0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()
    if not fits:
        raise InvalidInput(
            f"the name of a schedule is {name[:MAX_NAME]!r}",
            hint=f"give 1 to {MAX_NAME} printable characters, without a space at an end",
        )
    parts = name.split("/")
    wrong = {".", ".."}.intersection(parts) or RESERVED_PARTS.intersection(parts[1:][-1:])
    if wrong:
        raise InvalidInput(
            f"the name of a schedule is {name!r}, whose part {min(wrong)!r} means something else "
            "in its address",
            hint=f"choose another name: no part is . or .., and the last one after a slash is none "
            f"of {', '.join(sorted(RESERVED_PARTS))}",
        )


def _check_zone(spec: ScheduleSpec) -> None:
    try:
        ZoneInfo(spec.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _wrong(
            spec,
            f"has the time zone {spec.timezone!r}, which is not known here",
            "give an IANA name, e.g. Europe/Berlin; on a system without time zones: "
            "pip install tzdata",
        ) from None


def _utc(spec: ScheduleSpec, name: str, value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.utcoffset() is None:
        raise _wrong(
            spec,
            f"has {name}={value!r} without a time zone",
            "e.g. datetime(2030, 1, 1, tzinfo=UTC)",
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise _wrong(
            spec, f"has {name}={value!r}, outside the years 1 to 9999 in UTC", None
        ) from None


def _cron(spec: ScheduleSpec, text: str) -> str:
    fields = text.split()
    if len(fields) != _FIELDS:
        raise _wrong(
            spec,
            f"has the cron expression {text!r}, which has {len(fields)} fields and not {_FIELDS}",
            f"{_EXAMPLE}; for seconds: every=timedelta(seconds=30)",
        )
    expression = " ".join(fields)
    try:
        first = next(CronSim(expression, datetime(2024, 1, 1)), None)  # noqa: DTZ001 - any day
    except CronSimError as error:
        raise _wrong(
            spec, f"has the cron expression {text!r}: {str(error).lower()}", _EXAMPLE
        ) from error
    if first is None:
        raise _wrong(spec, f"has the cron expression {text!r}, which no day matches", _EXAMPLE)
    return expression


def _check_jitter(spec: ScheduleSpec) -> None:
    longest = spec.every if spec.every is not None else timedelta(days=1)
    if not timedelta(0) <= spec.jitter <= longest:
        raise _wrong(spec, f"has jitter={spec.jitter!s}", f"give 0 to {longest}")


def _check_policies(spec: ScheduleSpec) -> None:
    if not 1 <= spec.catch_up_limit <= MAX_CATCH_UP:
        raise _wrong(spec, f"has catch_up_limit={spec.catch_up_limit}", f"give 1 to {MAX_CATCH_UP}")
    if spec.catch_up is CatchUp.ALL and spec.overlap in (Overlap.SKIP, Overlap.CANCEL_RUNNING):
        raise _wrong(
            spec,
            f"has catch_up='all' and overlap={spec.overlap.value!r}: of many missed ticks only one "
            "would get a whole run",
            "give overlap='queue', or overlap='allow'",
        )


def choice(kind: type[StrEnum], name: str, value: Any) -> Any:
    """Return the member of an enumeration for a given option.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return kind(value)
    except ValueError:
        raise InvalidInput(
            f"{name} of a schedule is {value!r}", hint=f"one of: {', '.join(kind)}"
        ) from None


def metadata_of(spec: ScheduleSpec, tick: datetime) -> Mapping[str, Any]:
    """Return the metadata of the run of a tick: the user's, with the schedule and the tick."""
    local = tick.astimezone(spec.zone).isoformat()
    return {**spec.options.metadata, "schedule": spec.name, "scheduled_for": local}
