"""`flowq runs`: the group of the commands on recorded runs."""

import click

from flowq.entrypoints.cli.group import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy_subcommands={
        "ls": "read:ls",
        "show": "read:show",
        "watch": "read:watch",
        "events": "read:events",
        "result": "read:result",
        "cancel": "steer:cancel",
        "pause": "steer:pause",
        "raise-budget": "steer:raise_budget",
        "resume": "steer:resume",
        "signal": "steer:signal",
        "cost": "read:cost",
    },
)
def runs() -> None:
    """Show and change recorded runs.

    ls, show, watch, events, result, pause, resume, cancel, signal, cost.

    An ID may be shortened to its first characters.
    """
