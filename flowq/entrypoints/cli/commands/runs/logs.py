"""`flowq runs logs`: what the steps of a run have logged."""

import re
import sys
from typing import Final

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import INTERRUPTED, OK

_ITEM: Final = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)


@click.command()
@options.run_id
@click.option(
    "--step", metavar="KEY", help="Only this step, e.g. fetch; of a map one item: 'fetch[5]'."
)
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only this attempt.")
@click.option(
    "--level",
    # The names in `LEVELS`; importing that would make `--help` slow.
    type=click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False),
    help="Only lines of at least this level.",
)
@click.option("--follow", is_flag=True, help="Print further lines until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def logs(
    run_id: str,
    *,
    step: str | None,
    attempt: int | None,
    level: str | None,
    follow: bool,
    as_json: bool,
) -> int:
    """Print what the steps of a run have logged.

    Workers write lines about a second after they were logged.
    """
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, output
    from flowq.entrypoints.cli.display.logs import line_json, print_line

    run = recorded.run(run_id)
    item = _ITEM.fullmatch(step) if step else None
    key, index = (item[1], int(item[2])) if item else (step, None)
    out, printed = console.out(lines=True), False
    try:
        for line in run.logs(key, index=index, attempt=attempt, level=level, follow=follow):
            printed = True
            if as_json:
                click.echo(line_json(line))
                sys.stdout.flush()
            else:
                print_line(out, line)
    except KeyboardInterrupt:
        output.print_left(run)
        return INTERRUPTED
    if not printed:
        filtered = step or attempt or level
        what = "no such line" if filtered else "nothing that its workers have kept"
        console.note(f"The steps of run {run.id} have logged {what}.")
    return OK
