"""`flowq runs delete`: deletes runs that have ended."""

from typing import TYPE_CHECKING, Any

import click

from flowq.core.errors import FlowqError, Unavailable
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.commands.runs.chosen import chosen, filtered
from flowq.entrypoints.cli.group import FAILED, OK

if TYPE_CHECKING:
    from flowq.client import Run


@click.command()
@filtered
@options.as_json
def delete(*, as_json: bool) -> int:
    """Delete runs with their child runs, results and logs.

    \b
    flowq runs delete 0199b1c2
    flowq runs delete --flow orders --older-than 30d
    flowq runs delete --state failed --user test --yes

    Give their ids, or a filter; a filter asks for a confirmation that has the number of runs, and
    leaves out open runs. The cost of deleted runs is no longer in the sums of `flowq runs cost`. A
    run is kept as long as a rerun of it exists. Exits with 1 when a run could not be deleted.
    """  # noqa: D301 - \b keeps lines
    from flowq.entrypoints.cli.display import console

    found = chosen(what="Delete", able=TERMINAL_RUN_STATES)
    if found is None:
        return FAILED
    deleted, kept = _delete(found)
    if as_json:
        console.print_json(
            {"deleted": [run.id for run in deleted], "kept": [str(one) for one in kept]}
        )
    for error in kept:
        console.note(error.message)
    if found:
        console.note(f"{len(deleted):,} of {len(found):,} runs are deleted, with their child runs.")
    return FAILED if kept else OK


def _delete(runs: "list[Run[Any]]") -> "tuple[list[Run[Any]], list[FlowqError]]":
    """Delete runs; return those, and why others are kept. An outage ends it."""
    deleted: list[Run[Any]] = []
    kept: list[FlowqError] = []
    for run in runs:  # the newest first, so a rerun before the run that it repeats
        try:
            run.delete()
        except FlowqError as error:
            if len(runs) == 1:
                raise
            kept.append(error)
            if isinstance(error, Unavailable):
                break
        else:
            deleted.append(run)
    return deleted, kept
