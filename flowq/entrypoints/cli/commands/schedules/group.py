"""`flowq schedules`: the group of the commands on schedules."""

import click

from flowq.entrypoints.cli.group import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy_subcommands={
        "ls": "schedules.read:ls",
        "show": "schedules.read:show",
        "next": "schedules.read:coming",
        "add": "schedules.add:add",
        "pause": "schedules.change:pause",
        "resume": "schedules.change:resume",
        "run": "schedules.change:run",
        "backfill": "schedules.change:backfill",
        "rm": "schedules.change:rm",
    },
)
def schedules() -> None:
    """Show and change schedules, which start runs at certain times.

    Code declares them with flowq.schedule(…), or `add` records one.
    """
