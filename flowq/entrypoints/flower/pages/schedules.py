"""The pages of schedules: `/flows/schedules`, and one for each with its runs and skipped ticks.

The buttons pause, resume or request a run. They change one row and can be taken back, so they ask
for no confirmation; each is a form with a token, as all actions of the tab. A backfill may start a
thousand runs, so its page first says how many.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from tornado.web import authenticated

from flowq.core.errors import InvalidInput, ScheduleNotFound
from flowq.core.schedules.spec import ScheduleSpec
from flowq.engine.engine import Engine
from flowq.engine.model.schedules import StoredSchedule
from flowq.engine.ports import Transaction
from flowq.engine.queries.schedules import ListedSchedule, ScheduledRun, SkippedTicks
from flowq.engine.schedules import control
from flowq.entrypoints.flower.page import PageHandler

#: Schedules on one page; ticks and runs on the page of one.
_PAGE: Final = 100
_MAX_LISTED: Final = 20
_COMING: Final = 5


@dataclass(frozen=True, slots=True)
class ScheduleAction:
    """A button: its text, what it does, and the notice after it."""

    label: str
    do: Callable[[Engine, str], object]
    notice: str


ACTIONS: Final[Mapping[str, ScheduleAction]] = {
    "run": ScheduleAction(
        "Run now", control.request_run, "A run is requested: a worker starts it in a moment."
    ),
    "pause": ScheduleAction("Pause", control.pause, "The schedule is paused."),
    "resume": ScheduleAction("Resume", control.resume, "The schedule is resumed."),
    "stop-backfill": ScheduleAction(
        "Stop the backfill", control.cancel_backfill, "The backfill starts no further runs."
    ),
}
_BACKFILL: Final = "A worker starts the runs of the past ticks, the oldest first."


class SchedulesPage(PageHandler):
    """`/flows/schedules`: all schedules, by name."""

    @authenticated
    async def get(self) -> None:
        """Show a page of schedules."""
        after = self.get_query_argument("after", "")
        listed = await self.read(partial(_read_page, after=after))
        self.show(
            "schedules",
            listed=listed[:_PAGE],
            more=listed[_PAGE - 1].schedule.spec.name if len(listed) > _PAGE else None,
            after=after,
            notice=_notice(self),
            offered=offered,
        )


class SchedulePage(PageHandler):
    """`/flows/schedules/<name>`: one schedule."""

    @authenticated
    async def get(self, name: str) -> None:
        """Show a schedule with its next ticks, last runs and skipped ticks."""
        one, runs, skipped = await self.read(partial(_read_one, name=name))
        self.show(
            "schedule",
            one=one,
            coming=one.coming(_COMING),
            runs=runs,
            skipped=skipped,
            notice=_notice(self),
            offered=offered,
        )


class ScheduleChange(PageHandler):
    """`/flows/schedules/<name>/<action>`, by POST."""

    @authenticated
    async def post(self, name: str, action: str) -> None:
        """Do it, and show the page that the button was on."""
        self.refuse_when_read_only()
        await self.read(lambda engine: ACTIONS[action].do(engine, name))
        in_list = self.get_body_argument("from", "") == "list"
        page = self.reverse_url("schedules") if in_list else self.reverse_url("schedule", name)
        self.redirect(f"{page}?done={action}", status=303)


class BackfillPage(PageHandler):
    """`/flows/schedules/<name>/backfill`: start the runs of past ticks."""

    @authenticated
    async def get(self, name: str) -> None:
        """Ask for a span; if one is given, say which ticks it has."""
        self.refuse_when_read_only()
        schedule = await self.read(partial(control.find, name=name))
        typed = {field: self.get_query_argument(field, "") for field in ("from", "to")}
        if not typed["from"]:
            self._ask(schedule, typed)
            return
        try:
            first, last = _span(schedule.spec, typed)
            work = partial(control.backfill_ticks, name=name, first=first, last=last)
            _, ticks = await self.read(work)
        except InvalidInput as error:
            self.set_status(400)
            self._ask(schedule, typed, error=error)
        else:
            self._ask(schedule, typed, ticks=ticks)

    @authenticated
    async def post(self, name: str) -> None:
        """Begin the backfill, and show the page of the schedule."""
        self.refuse_when_read_only()
        schedule = await self.read(partial(control.find, name=name))
        typed = {field: self.get_body_argument(field, "") for field in ("from", "to")}
        try:
            first, last = _span(schedule.spec, typed)
            await self.read(partial(control.backfill, name=name, first=first, last=last))
        except InvalidInput as error:
            self.set_status(400)
            self._ask(schedule, typed, error=error)
        else:
            self.redirect(f"{self.reverse_url('schedule', name)}?done=backfill", status=303)

    def _ask(
        self,
        schedule: StoredSchedule,
        typed: Mapping[str, str],
        *,
        ticks: Sequence[datetime] = (),
        error: InvalidInput | None = None,
    ) -> None:
        self.show("backfill", spec=schedule.spec, typed=typed, ticks=ticks, error=error)


def _span(spec: ScheduleSpec, typed: Mapping[str, str]) -> tuple[datetime, datetime]:
    """Return the begin and the end that were typed, in the time zone of the schedule.

    Raises:
        InvalidInput: one is no time.
    """
    found = []
    for name, default in (("from", ""), ("to", datetime.now(UTC).isoformat())):
        text = typed[name].strip() or default
        try:
            then = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidInput(
                f"{name} is {text!r}, which is no time", hint="write e.g. 2030-01-31T09:30"
            ) from None
        found.append(then if then.tzinfo is not None else then.replace(tzinfo=spec.zone))
    return found[0], found[1]


def offered(one: ListedSchedule) -> list[tuple[str, str]]:
    """Return the actions that are possible now, with their labels."""
    is_paused = one.schedule.progress.paused_at is not None
    names = ["run", "resume" if is_paused else "pause"]
    if one.schedule.progress.backfill_at is not None:
        names.append("stop-backfill")
    return [(name, ACTIONS[name].label) for name in names]


def _notice(page: PageHandler) -> str | None:
    name = page.get_query_argument("done", "")
    if name == "backfill":
        return _BACKFILL
    done = ACTIONS.get(name)
    return None if done is None else done.notice


def _read_page(engine: Engine, after: str) -> list[ListedSchedule]:
    return engine.records.autocommit(lambda tx: tx.overview.schedules(after=after, limit=_PAGE + 1))


def _read_one(
    engine: Engine, name: str
) -> tuple[ListedSchedule, list[ScheduledRun], list[SkippedTicks]]:
    def read(
        tx: Transaction,
    ) -> tuple[list[ListedSchedule], list[ScheduledRun], list[SkippedTicks]]:
        return (
            tx.overview.schedules(names=[name]),
            tx.overview.runs_of_schedule(name, limit=_MAX_LISTED),
            tx.overview.skipped_ticks(name, limit=_MAX_LISTED),
        )

    found, runs, skipped = engine.records.autocommit(read)
    if not found:
        raise ScheduleNotFound(f"there is no schedule {name!r}", hint="see the list of schedules")
    return found[0], runs, skipped
