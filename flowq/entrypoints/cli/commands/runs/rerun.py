"""`flowq runs rerun`: a run again, or many, with what they have completed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import click

from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.commands.runs.chosen import chosen, filtered
from flowq.entrypoints.cli.group import FAILED, OK

if TYPE_CHECKING:
    from flowq.client import Run
    from flowq.core.errors import FlowqError
    from flowq.engine.model.reruns import RerunPreview

_T = TypeVar("_T")

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
    """Run again what runs have not completed; reuse the rest.

    \b
    flowq runs rerun 0199b1c2 --preview
    flowq runs rerun 0199b1c2 --from summarise
    flowq runs rerun 0199b1c2 --code flows.py -p model=large
    flowq runs rerun --flow orders --state failed --since 2h

    Give ids, or a filter; a filter asks for a confirmation that has the number of runs. Without
    --state it chooses runs that have failed or were cancelled.

    Without --code, or the app of the flow in --app, the recorded graph is used. Exits with 1 when
    a run could not be rerun.
    """  # noqa: D301 - \b keeps lines
    from flowq.entrypoints.cli.app import apps, inputs, loading
    from flowq.entrypoints.cli.display import console, reruns

    if target is None:
        given = inputs.read_untyped(pairs, None) or None
    else:
        loaded = loading.load_flow(target)
        if apps.named() is None:  # as of `flowq run`, the app of the file sends the steps
            apps.app_in(loaded.module, loaded.file)
        given = inputs.read(loaded.flow, pairs, None) or None
    runs = chosen("Rerun", TERMINAL_RUN_STATES, _STOPPED, asks=not preview)
    if runs is None:
        return FAILED
    if not preview:
        return _rerun(runs, from_step, given, as_json=as_json)
    from flowq import builtin  # noqa: F401 - it knows what the programs of canvases are told to call

    done: _Done[RerunPreview] = _Done()
    _each(runs, lambda run: run.rerun_preview(from_step, given), done)
    if as_json:
        console.print_json(
            [reruns.preview_json(one) for _, one in done.done]
            + [{"run_id": old.id, "error": str(why)} for old, why in done.refused]
        )
    else:
        for _, one in done.done:
            reruns.print_preview(one)
    return done.tell_refused()


@dataclass
class _Done(Generic[_T]):
    """What has become of runs: those with a result, and those that were refused."""

    done: "list[tuple[Run[Any], _T]]" = field(default_factory=list)
    refused: "list[tuple[Run[Any], FlowqError]]" = field(default_factory=list)

    def tell_refused(self) -> int:
        """Say why runs were refused; returns the exit code."""
        from flowq.entrypoints.cli.display import console

        for old, why in self.refused:
            console.note(f"Run {old.id} is not rerun: {why}")
        return FAILED if self.refused else OK


def _each(runs: "Sequence[Run[Any]]", do: "Callable[[Run[Any]], _T]", done: "_Done[_T]") -> None:
    """Do something with each run; a refusal of one of several does not end it.

    Raises:
        Unavailable: the runs after it were not tried.
        FlowqError: the only run was refused.
    """
    from flowq.core.errors import FlowqError, Unavailable
    from flowq.engine.registry.registry import registry
    from flowq.engine.registry.user_errors import user_errors

    for run in runs:
        try:
            with user_errors(registry.flows.get(run.flow_name)):
                done.done.append((run, do(run)))
        except Unavailable:
            raise
        except FlowqError as error:
            if len(runs) == 1:  # its error is the error of the command
                raise
            done.refused.append((run, error))


def _rerun(runs: "Sequence[Run[Any]]", from_step: str | None, given: Any, *, as_json: bool) -> int:
    from flowq.entrypoints.cli.display import console

    done: _Done[Run[Any]] = _Done()
    try:
        _each(runs, lambda run: run.rerun(from_step, given), done)
    finally:  # print what was started, also after an error
        if as_json and (done.done or done.refused or not runs):
            console.print_json(
                [{"id": new.id, "rerun_of": old.id} for old, new in done.done]
                + [{"id": None, "rerun_of": old.id, "error": str(why)} for old, why in done.refused]
            )
        for old, new in done.done:
            console.note(f"Run {new.id} reruns {old.id}. ", (f"flowq runs watch {new.id}", "bold"))
        code = done.tell_refused()
    return code
