"""`flowq runs rerun`: a run again, or many, with what they have completed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from flowq.core.states import RunState
from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import FAILED, OK

if TYPE_CHECKING:
    from flowq.client import Run

#: Runs that one command starts at most.
_MOST: Final = 1000


@click.command()
@click.argument("run_ids", metavar="[ID...]", nargs=-1)
@click.option(
    "--from",
    "from_step",
    metavar="STEP",
    help="Run this step, call or item (`fetch[3]`), and all after it.",
)
@click.option("--preview", is_flag=True, help="Show what is reused and what runs; start nothing.")
@options.inputs
@click.option(
    "--code",
    "target",
    metavar="FILE[:FLOW]",
    help="The file or module that defines the flow, as of `flowq run`.",
)
@click.option("--flow", "flow_name", metavar="NAME", help="Runs of this flow, instead of IDs.")
@click.option("--failed", is_flag=True, help="With --flow: those that have failed.")
@click.option("--cancelled", is_flag=True, help="With --flow: those that were cancelled.")
@click.option(
    "--since",
    type=options.SPAN,
    metavar="SPAN",
    help="With --flow: not older than this: 2h, 30m, 7d.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@options.as_json
def rerun(
    run_ids: Sequence[str],
    *,
    from_step: str | None,
    preview: bool,
    pairs: Sequence[str],
    target: str | None,
    flow_name: str | None,
    failed: bool,
    cancelled: bool,
    since: timedelta | None,
    yes: bool,
    as_json: bool,
) -> int:
    r"""Run again what runs have not completed; reuse the rest.

    \b
    flowq runs rerun 0199b1c2 --preview
    flowq runs rerun 0199b1c2 --from summarise
    flowq runs rerun 0199b1c2 --code flows.py -p model=large
    flowq runs rerun --flow orders --failed --since 2h

    Without --code, or the app of the flow in --app, the recorded graph is used. Exits with 1 when
    a run could not be rerun.
    """
    from flowq.entrypoints.cli.app import inputs, loading, recorded
    from flowq.entrypoints.cli.display import console, reruns

    if bool(run_ids) == bool(flow_name):
        raise click.UsageError("give the IDs of runs, or --flow with --failed or --cancelled")
    if not flow_name and (failed or cancelled or since):
        raise click.UsageError("--failed, --cancelled and --since choose among the runs of --flow")
    if target is None:
        given = inputs.read_untyped(pairs, None) or None
    else:
        given = inputs.read(loading.load_flow(target).flow, pairs, None) or None
    if flow_name:
        runs = _chosen(flow_name, failed=failed, cancelled=cancelled, since=since)
        if not runs:
            console.note(
                f"No such run of {flow_name}. All of them: flowq runs ls --flow {flow_name}"
            )
            return OK
        count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
        if not (preview or yes or console.confirmed(f"Rerun {count} of {flow_name}?")):
            return FAILED
    else:
        runs = recorded.runs(run_ids)
    if preview:
        found = [run.rerun_preview(from_step, given) for run in runs]
        if as_json:
            console.print_json([reruns.preview_json(one) for one in found])
        else:
            for one in found:
                reruns.print_preview(one)
        return OK
    return _rerun(runs, from_step, given, as_json=as_json)


def _rerun(runs: Sequence["Run[Any]"], from_step: str | None, given: Any, *, as_json: bool) -> int:
    from flowq.core.errors import InvalidFlow, InvalidInput, RunNotFound
    from flowq.entrypoints.cli.display import console

    if len(runs) == 1:  # its error is the error of the command
        started = [(runs[0], runs[0].rerun(from_step, given))]
        refused: list[tuple[Run[Any], Exception]] = []
    else:
        started, refused = [], []
        for run in runs:
            try:
                started.append((run, run.rerun(from_step, given)))
            except (InvalidFlow, InvalidInput, RunNotFound) as error:
                refused.append((run, error))
    if as_json:
        console.print_json(
            [{"id": new.id, "rerun_of": old.id} for old, new in started]
            + [{"id": None, "rerun_of": old.id, "error": str(why)} for old, why in refused]
        )
    for old, new in started:
        console.note(f"Run {new.id} reruns {old.id}. ", (f"flowq runs watch {new.id}", "bold"))
    for old, why in refused:
        console.note(f"Run {old.id} is not rerun: {why}")
    return FAILED if refused else OK


def _chosen(
    flow_name: str, *, failed: bool, cancelled: bool, since: timedelta | None
) -> list["Run[Any]"]:
    """Return the runs of a flow that were asked for, the oldest first; no child runs."""
    from flowq.client import Run
    from flowq.engine.queries.lists import RunFilter
    from flowq.entrypoints.cli.app import recorded

    states = {RunState.FAILED} if failed else set()
    states |= {RunState.CANCELLED} if cancelled else set()
    if not states:
        raise click.UsageError("say which runs of the flow: --failed, --cancelled or both")
    begin = None if since is None else datetime.now(UTC) - since
    wanted = RunFilter(states=frozenset(states), flow_name=flow_name, since=begin, children=False)
    page = recorded.engine().records.autocommit(
        lambda tx: tx.overview.runs_page(wanted, at=None, limit=_MOST)
    )
    if page.has_older:
        raise click.UsageError(f"more than {_MOST} runs are meant; choose fewer with --since")
    return [Run(one.id, one.flow_name) for one in reversed(page.runs)]
