"""`flowq runs logs`: what the steps of a run have logged."""

import re
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import click

from flowq.core.errors import InvalidInput
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import INTERRUPTED, OK

if TYPE_CHECKING:
    from flowq.engine.model.rows import RunView

#: How many steps are named in place of one that there is not.
_NEAR: Final = 5
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

    Workers write lines about a second after they were logged. With --follow the last line, on
    stderr, is the final state of the run.
    """
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console, output
    from flowq.entrypoints.cli.display.logs import line_json, print_line

    run = recorded.run(run_id)
    item = _ITEM.fullmatch(step) if step else None
    key, index = (item[1], int(item[2])) if item else (step, None)
    if key is not None:
        _refuse_unknown(run.view(), key, index, follow=follow)
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
    if printed and not follow:
        return OK
    view = run.view()
    if not printed:
        filtered = step or attempt or level
        what = "no such line" if filtered else "nothing that its workers have kept"
        console.note(f"The steps of run {run.id} have logged {what}.")
    if follow:
        console.note(f"Run {run.id} is {view.status}.")
    if view.status is RunState.FAILED and not printed:
        console.note("Its errors: ", (f"flowq runs show {run.id} --traceback", "bold"))
    return OK


def _refuse_unknown(view: "RunView", key: str, index: int | None, *, follow: bool) -> None:
    """Refuse a step, or an item, that the run does not have.

    Raises:
        InvalidInput: it does not have it; a program that is followed may still call it.
    """
    found = next((one for one in view.steps if one.key == key), None)
    if found is None:
        if follow and view.status not in TERMINAL_RUN_STATES:
            return
        keys = [one.key for one in view.steps]
        near = get_close_matches(key, keys, n=_NEAR) or keys[:_NEAR]
        raise InvalidInput(
            f"run {view.id} has no step {key!r}",
            hint=f"its steps: {', '.join(near)}{', …' if len(near) < len(keys) else ''}"
            if near
            else f"see what it is: flowq runs show {view.id}",
        )
    size = found.map_size
    if index is not None and size is not None and index >= size:
        items = f"{size:,} item" + "s" * (size != 1)
        raise InvalidInput(
            f"step {key!r} of run {view.id} has no item [{index}]",
            hint=f"it has {items}, the first is [0]" if size else "it has no items",
        )
    if index is not None and size is None and found.status is StepState.COMPLETED:
        raise InvalidInput(f"step {key!r} of run {view.id} is no map", hint=f"give --step {key}")
