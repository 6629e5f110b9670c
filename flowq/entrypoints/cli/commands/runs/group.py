"""`flowq runs`: the group of the commands on recorded runs."""

import click

from flowq.entrypoints.cli.group import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy_subcommands={
        "ls": "runs.read:ls",
        "show": "runs.read:show",
        "watch": "runs.read:watch",
        "events": "runs.read:events",
        "logs": "runs.logs:logs",
        "result": "runs.read:result",
        "cancel": "runs.steer:cancel",
        "pause": "runs.steer:pause",
        "raise-budget": "runs.steer:raise_budget",
        "resume": "runs.steer:resume",
        "rerun": "runs.rerun:rerun",
        "signal": "runs.steer:signal",
        "delete": "runs.delete:delete",
        "cost": "runs.cost:cost",
    },
)
def runs() -> None:
    """Show and change recorded runs.

    ls, show, watch, events, logs, result, pause, resume, cancel, rerun, signal,
    delete, cost.

    An ID may be shortened to its first characters.
    """
