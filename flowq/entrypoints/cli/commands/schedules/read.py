"""`flowq schedules ls, show, next`: commands that read schedules."""

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="The most schedules.",
)
@click.option("--after", metavar="NAME", default="", help="Only names that come after this one.")
@options.as_json
def ls(*, limit: int, after: str, as_json: bool) -> int:
    """List the schedules by name, with their last and next runs."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, schedules

    engine = recorded.engine()
    found = engine.records.autocommit(lambda tx: tx.overview.schedules(after=after, limit=limit))
    if as_json:
        console.print_json([schedules.as_json(one) for one in found])
    elif found:
        console.out().print(schedules.table(found))
        if len(found) == limit:
            name = found[-1].schedule.spec.name
            console.note("More: ", (f"flowq schedules ls --after {name!r}", "bold"))
    else:
        console.note("No schedules. Declare one: flowq.schedule(…), or flowq schedules add --help")
    return OK


@click.command()
@options.schedule_name
@click.option(
    "--limit",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    help="The most runs and skipped ticks.",
)
@options.as_json
def show(name: str, *, limit: int, as_json: bool) -> int:
    """Show a schedule: rules, next ticks, last runs, skipped ticks."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, schedules

    engine = recorded.engine()
    found = schedules.found(engine, name)
    runs, skipped = engine.records.autocommit(
        lambda tx: (
            tx.overview.runs_of_schedule(name, limit=limit),
            tx.overview.skipped_ticks(name, limit=limit),
        )
    )
    if as_json:
        document = {
            "next": found.coming(limit),
            "runs": [schedules.run_json(run) for run in runs],
            "skipped": [schedules.skipped_json(one) for one in skipped],
        }
        console.print_json(schedules.as_json(found) | document)
    else:
        schedules.print_one(found, runs, skipped)
    return OK


@click.command("next")
@options.schedule_name
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="The number of ticks.",
)
@options.as_json
def coming(name: str, *, count: int, as_json: bool) -> int:
    """Print the next ticks of a schedule, in its time zone."""
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, schedules

    found = schedules.found(recorded.engine(), name)
    times = [tick.astimezone(found.schedule.spec.zone) for tick in found.coming(count)]
    if as_json:
        console.print_json([time.isoformat() for time in times])
        return OK
    for time in times:
        console.out().print(time.isoformat(" ", "seconds"))
    if found.schedule.progress.paused_at is not None:
        console.note(f"Schedule {name!r} is paused: none of them starts a run.")
    return OK
