"""`flowq schedules pause, resume, run, backfill, rm`: commands that change schedules."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import FAILED, OK

if TYPE_CHECKING:
    from flowq.engine.engine import Engine
    from flowq.engine.model.schedules import StoredSchedule


@click.command()
@options.schedule_names
@options.as_json
def pause(names: Sequence[str], *, as_json: bool) -> int:
    """Pause schedules: they start no run until they are resumed."""
    from flowq.engine.schedules import control

    return _each(names, control.pause, "is paused", as_json=as_json)


@click.command()
@options.schedule_names
@options.as_json
def resume(names: Sequence[str], *, as_json: bool) -> int:
    """Resume paused schedules, with the first tick from now."""
    from flowq.engine.schedules import control

    return _each(names, control.resume, "is active", as_json=as_json)


@click.command()
@options.schedule_names
@options.as_json
def run(names: Sequence[str], *, as_json: bool) -> int:
    """Request a run of schedules now, beside their ticks.

    A worker starts it. While a request is open, another one of the same schedule adds nothing.
    """
    from flowq.engine.schedules import control

    return _each(names, control.request_run, "will be run by a worker now", as_json=as_json)


@click.command()
@options.schedule_names
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@options.as_json
def rm(names: Sequence[str], *, yes: bool, as_json: bool) -> int:
    """Delete schedules; their runs stay."""
    from flowq.engine.schedules import control
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, schedules

    engine = recorded.engine()
    for name in names:
        control.find(engine, name)  # all are there before the first is deleted
    if not yes and not console.confirmed("Delete them? Their runs stay."):
        return FAILED
    removed = [control.remove(engine, name) for name in dict.fromkeys(names)]
    if as_json:
        console.print_json([schedules.stored_json(one) for one in removed])
    for one in removed:
        console.note(f"Schedule {one.spec.name!r} is deleted.")
        if one.declared_in is not None:
            console.note(
                f"It is declared at {one.declared_in}: delete that too, or the next worker that "
                "starts records it again."
            )
    return OK


@click.command()
@options.schedule_name
@click.option("--from", "first", type=options.TIME, help="The begin of the span.")
@click.option(
    "--to",
    "last",
    type=options.TIME,
    help="Its end, included; a date is its midnight. Now when left out.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--cancel", is_flag=True, help="Start no further runs of a backfill.")
@options.as_json
def backfill(
    name: str,
    *,
    first: datetime | None,
    last: datetime | None,
    yes: bool,
    cancel: bool,
    as_json: bool,
) -> int:
    """Start the runs of the past ticks of a span, the oldest first.

    Ticks that have a run are left out, so it is safe to repeat. Unless the schedule allows
    overlaps, each run begins after the end of the one before. Times are in the time zone of the
    schedule, if they name none.

    \b
    flowq schedules backfill nightly --from 2026-03-01 --to 2026-03-31
    """  # noqa: D301 - \b keeps lines
    from flowq.engine.schedules import control
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, schedules

    engine = recorded.engine()
    if cancel:
        done = control.cancel_backfill(engine, name)
        text = f"The backfill of schedule {name!r} starts no further runs."
    else:
        if first is None:
            raise click.UsageError("give --from, the begin of the span")
        found = control.find(engine, name)
        begin = schedules.in_zone(first, found.spec)
        end = schedules.in_zone(last, found.spec) if last else schedules.now_in(found.spec)
        _, ticks = control.backfill_ticks(engine, name, begin, end)
        span = schedules.span_of(ticks, found.spec)
        what = f"Start up to {len(ticks):,} runs of {found.spec.flow_name}: {span}?"
        if not yes and not console.confirmed(what):
            return FAILED
        done = control.backfill(engine, name, begin, end)
        text = f"A worker starts the runs of {len(ticks):,} ticks: {span}."
    if as_json:
        console.print_json(schedules.stored_json(done))
    console.note(text, " See them: ", (f"flowq schedules show {name!r}", "bold"))
    return OK


def _each(
    names: Sequence[str],
    change: "Callable[[Engine, str], StoredSchedule]",
    text: str,
    *,
    as_json: bool,
) -> int:
    """Change schedules, all of which exist before the first is changed."""
    from flowq.engine.schedules import control
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, schedules

    engine = recorded.engine()
    for name in names:
        control.find(engine, name)
    changed = [change(engine, name) for name in dict.fromkeys(names)]
    if as_json:
        console.print_json([schedules.stored_json(one) for one in changed])
    for one in changed:
        console.note(f"Schedule {one.spec.name!r} {text}. ", schedules.next_text(one))
    return OK
