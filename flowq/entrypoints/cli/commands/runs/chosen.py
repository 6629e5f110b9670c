"""Which runs a command acts on: given ids, or a filter, confirmed with the number of runs."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from flowq.core.states import RunState
from flowq.entrypoints.cli import options

if TYPE_CHECKING:
    from flowq.client import Run

_F = TypeVar("_F", bound=Callable[..., Any])
_META: Final = "flowq.chosen"
_FILTERS: Final = ("flow_name", "state", "since", "older_than", "user_id", "search")
#: Runs that one command acts on.
_MAX_RUNS: Final = 10_000


def filtered(command: _F) -> _F:
    """Add the options of a filter, and `--yes`; the ids become optional."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Keep a value for `chosen`, so that no command passes them on one by one."""
    context.meta.setdefault(_META, {})[parameter.name] = value
    return value


def _option(*names: str, **settings: Any) -> Any:
    return click.option(*names, expose_value=False, callback=_keep, **settings)


_STATES: Final = click.Choice([state.value for state in RunState])
_OPTIONS: Final = (
    click.argument("run_ids", metavar="[ID]...", nargs=-1, expose_value=False, callback=_keep),
    _option("--flow", "flow_name", metavar="NAME", help="All runs of this flow that match."),
    _option("--state", type=_STATES, help="In this state."),
    _option(
        "--since",
        type=options.SPAN,
        metavar="SPAN",
        help="Started within the last, e.g., 30m, 2h or 7d.",
    ),
    _option(
        "--older-than",
        "older_than",
        type=options.SPAN,
        metavar="SPAN",
        help="Started longer ago than, e.g., 30d.",
    ),
    _option("--user", "user_id", metavar="ID", help="Of this user."),
    _option("--search", metavar="TERMS", help="As in Flower: metadata.a=b error=KeyError …"),
    _option("--yes", is_flag=True, help="Do not ask for a confirmation."),
)


def _before_now(span: timedelta | None) -> datetime | None:
    return None if span is None else datetime.now(UTC) - span


def chosen(
    what: str,
    able: frozenset[RunState],
    usual: frozenset[RunState] | None = None,
    *,
    asks: bool = True,
) -> "list[Run[Any]] | None":
    """Return the runs that the running command names; None if a person has not confirmed.

    Args:
        what: The verb of the question.
        able: The states of runs that can be changed so; a filter leaves out the others.
        usual: Those that a filter without a state chooses; by default all of them.
        asks: Whether a filter asks for a confirmation.

    Raises:
        UsageError: neither ids nor a filter are given, or both; or nobody can be asked.
    """
    from flowq.client import Run
    from flowq.engine.queries.lists import MAX_SEARCHED, RunFilter
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display import console
    from flowq.entrypoints.terms import parse_terms

    given: Mapping[str, Any] = click.get_current_context().meta[_META]
    has_filter = any(given[name] for name in _FILTERS)
    if bool(given["run_ids"]) == has_filter:
        raise click.UsageError("give ids of runs, or a filter such as --flow NAME, not both")
    if not has_filter:
        return recorded.runs(given["run_ids"])
    wanted = RunFilter(
        states=frozenset({RunState(given["state"])}) & able if given["state"] else usual or able,
        flow_name=given["flow_name"],
        user_id=given["user_id"],
        since=_before_now(given["since"]),
        until=_before_now(given["older_than"]),
        children=False,
    )
    terms = parse_terms(given["search"] or "")
    if terms.problem is not None:
        raise click.BadParameter(terms.problem, param_hint="--search")
    engine = recorded.engine()
    page = engine.records.autocommit(
        lambda tx: tx.overview.runs_page(terms.added_to(wanted), limit=_MAX_RUNS, counts=False)
    )
    found: list[Run[Any]] = []
    if wanted.states:
        found = [Run(run.id, run.flow_name) for run in page.runs]
    if not found:
        console.note("No run matches.")
        return []
    if page.has_older:
        console.note(f"More runs match; these are the newest {_MAX_RUNS:,}. Repeat the command.")
    if terms.added_to(wanted).is_searched:
        console.note(f"Only the newest {MAX_SEARCHED:,} runs were searched.")
    number = f"{len(found):,} run{'s' if len(found) > 1 else ''}"
    if asks and not given["yes"] and not console.confirmed(f"{what} {number}?"):
        return None
    return found
