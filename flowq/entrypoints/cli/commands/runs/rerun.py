"""`flowq runs rerun`: a run again, or many, with what they have completed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.commands.runs.chosen import chosen, filtered
from flowq.entrypoints.cli.group import FAILED, OK

if TYPE_CHECKING:
    from flowq.client import Run

#: What a filter chooses without a state.
_STOPPED: Final = frozenset({RunState.FAILED, RunState.CANCELLED})


@click.command()
@filtered
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
@options.as_json
def rerun(
    *,
    from_step: str | None,
    preview: bool,
    pairs: Sequence[str],
    target: str | None,
    as_json: bool,
) -> int:
    r"""Run again what runs have not completed; reuse the rest.

    \b
    flowq runs rerun 0199b1c2 --preview
    flowq runs rerun 0199b1c2 --from summarise
    flowq runs rerun 0199b1c2 --code flows.py -p model=large
    flowq runs rerun --flow orders --state failed --since 2h

    Give ids, or a filter; a filter asks for a confirmation that has the number of runs. Without
    --state it chooses runs that have failed or were cancelled.

    Without --code, or the app of the flow in --app, the recorded graph is used. Exits with 1 when
    a run could not be rerun.
    """
    from flowq.entrypoints.cli.app import inputs, loading
    from flowq.entrypoints.cli.display import console, reruns

    if target is None:
        given = inputs.read_untyped(pairs, None) or None
    else:
        given = inputs.read(loading.load_flow(target).flow, pairs, None) or None
    runs = chosen("Rerun", TERMINAL_RUN_STATES, _STOPPED, asks=not preview)
    if runs is None:
        return FAILED
    if not preview:
        return _rerun(runs, from_step, given, as_json=as_json)
    found = [run.rerun_preview(from_step, given) for run in runs]
    if as_json:
        console.print_json([reruns.preview_json(one) for one in found])
    else:
        for one in found:
            reruns.print_preview(one)
    return OK


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
