"""`flowq schedules add`: records a schedule of a flow that can be loaded here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TextIO

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK


@click.command()
@options.schedule_name
@click.argument("target", metavar="FILE[:FLOW]")
@click.option("--cron", metavar="EXPRESSION", help="Minute, hour, day, month, day of week.")
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Instead of --cron: an interval.",
)
@click.option("--timezone", default="UTC", show_default=True, help="The time zone of --cron.")
@options.inputs
@options.inputs_file
@click.option("--time-input", metavar="INPUT", help="The input that gets the time of the tick.")
@click.option(
    "--catch-up",
    type=click.Choice(["none", "last", "all"]),
    default="last",
    show_default=True,
    help="The missed ticks that start a run later.",
)
@click.option(
    "--catch-up-limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="The most missed ticks that start a run.",
)
@click.option(
    "--overlap",
    type=click.Choice(["skip", "queue", "allow", "cancel_running"]),
    default="skip",
    show_default=True,
    help="The rule for a tick while a run of the schedule is open.",
)
@click.option(
    "--jitter",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="The longest random delay of a tick.",
)
@click.option("--start", type=options.TIME, help="The first possible tick.")
@click.option("--end", type=options.TIME, help="The last possible tick.")
@options.user
@options.as_json
def add(
    name: str,
    target: str,
    *,
    pairs: Sequence[str],
    file: TextIO | None,
    start: datetime | None,
    end: datetime | None,
    user: str | None,
    as_json: bool,
    cron: str | None,
    every: float | None,
    timezone: str,
    time_input: str | None,
    catch_up: Literal["none", "last", "all"],
    catch_up_limit: int,
    overlap: Literal["skip", "queue", "allow", "cancel_running"],
    jitter: float,
) -> int:
    """Add a schedule of a flow.

    \b
    flowq schedules add nightly flows.py:report --cron "0 2 * * *" --timezone Europe/Berlin
    """  # noqa: D301 - \b keeps lines
    from flowq.authoring.definitions.schedules import ScheduleOptions, spec_of
    from flowq.engine.schedules import control
    from flowq.entrypoints.cli.app import environment, inputs, recorded
    from flowq.entrypoints.cli.app.loading import load_flow
    from flowq.entrypoints.cli.display import console, schedules

    environment.settings()
    flow = load_flow(target).flow
    given = inputs.read(flow, pairs, file)
    rules: ScheduleOptions = {
        "cron": cron,
        "every": every,
        "timezone": timezone,
        "inputs": given,
        "time_input": time_input,
        "catch_up": catch_up,
        "catch_up_limit": catch_up_limit,
        "overlap": overlap,
        "jitter": jitter,
        "starts_at": schedules.in_named_zone(start, timezone),
        "ends_at": schedules.in_named_zone(end, timezone),
        "user_id": user,
    }
    spec = spec_of(name, flow, rules)
    added = control.add(recorded.engine(), spec)
    if as_json:
        console.print_json(schedules.stored_json(added))
    console.note(f"Schedule {name!r} is added. ", schedules.next_text(added))
    return OK
