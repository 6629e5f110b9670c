"""`flowq run`: check everything first, start a run, and follow it if asked to.

The checks are in the order of a person's mistakes: the file, the flow, its inputs, then Redis and
the database. While Redis is unavailable, `enqueue` records a run that is sent later. This command
starts nothing then, since a person at a terminal wants to see the problem.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TextIO

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK


@click.command()
@click.argument("target", metavar="FILE[:FLOW]")
@options.inputs
@options.inputs_file
@options.wait
@options.timeout
@options.user
@click.option(
    "--idempotency-key",
    "idempotency_key",
    metavar="KEY",
    help="Return the existing run of this flow with this key, if there is one.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Time from now by which the run has to end.",
)
@click.option(
    "--priority",
    type=click.IntRange(0, 9),
    default=0,
    metavar="0-9",
    help="Runs with a larger priority go first; 0 is the default.",
)
@click.option(
    "--delay",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Time from now at which the run begins.",
)
@click.option(
    "--at",
    type=options.MOMENT,
    metavar="TIME",
    help="When the run begins, e.g. 2030-01-31T02:00:00+01:00; without an offset, local time.",
)
@click.option(
    "--preview",
    is_flag=True,
    help="Check the inputs, show what the latest runs have cost, and start nothing.",
)
@options.as_json
def run(
    target: str,
    *,
    pairs: Sequence[str],
    file: TextIO | None,
    wait: bool,
    timeout: float | None,
    user: str | None,
    idempotency_key: str | None,
    deadline: float | None,
    priority: int,
    delay: float | None,
    at: datetime | None,
    preview: bool,
    as_json: bool,
) -> int:
    """Start a run of a flow.

    FILE[:FLOW] is a Python file or a module, and the flow in it where there are several:
    examples/codebase.py:codebase, or examples.codebase.
    """
    from flowq import client
    from flowq.entrypoints.cli.app import apps, environment, inputs
    from flowq.entrypoints.cli.app import started as report
    from flowq.entrypoints.cli.app.loading import load_flow, tracing

    environment.settings()
    loaded = load_flow(target)
    flow = loaded.flow
    given = inputs.read(flow, pairs, file)
    flow.type.validate(given)
    if apps.use_named() is None:
        apps.app_in(loaded.module, loaded.file)
    environment.prepare()
    if preview:
        from flowq.entrypoints.cli.app import recorded
        from flowq.entrypoints.cli.display.costs import print_preview

        print_preview(recorded.engine(), flow.type.name, as_json=as_json)
        return OK
    with tracing(flow):
        started = client.submit(
            flow.type,
            given,
            user_id=user,
            idempotency_key=idempotency_key,
            deadline=timedelta(seconds=deadline) if deadline else None,
            priority=priority,
            delay=timedelta(seconds=delay) if delay else None,
            at=at,
        )
    return report.show(started, worker=loaded.file, wait=wait, timeout=timeout, as_json=as_json)
