"""The data of the tabs of a run's page: each is read in a thread, through the engine.

The errors tab shows the cause first. That is the failed step of the run. If that step waited for a
child run, or is a program that did not catch the failure of a call, the cause is the failure there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from flowq.core.ids import RunId, StepRunId, child_run_id, node_id
from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Engine
from flowq.engine.model.model_calls import CostBy, CostLine
from flowq.engine.model.rows import RunView, StepView
from flowq.engine.queries.run_page import FailedStep, RunPage, StepCost
from flowq.engine.runs import signals
from flowq.entrypoints import formatting
from flowq.entrypoints.flower.pages.run import events, pictures
from flowq.entrypoints.flower.pages.run.logs import logs
from flowq.entrypoints.flower.pages.run.request import RunQuery, TemplateContext

#: Rows of a page of steps or items.
ROWS: Final = 100
_FAILURES: Final = 50
_COSTS: Final = 100
_MAX_DEPTH: Final = 20
_FAILING: Final = (RunState.FAILED, RunState.CANCELLING)


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab of the run's page."""

    name: str
    title: str
    template: str
    read: Callable[[Engine, RunPage, RunQuery], TemplateContext]


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Where the previous and the next page begin; None if there is none."""

    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class FailureInRun:
    """A failure, and the run in which it happened."""

    run: RunView
    failure: FailedStep
    child: RunId | None = None  #: The child run that it waited for.


# --- steps ---------------------------------------------------------------------------------------


def steps(engine: Engine, page: RunPage, asked: RunQuery) -> TemplateContext:
    """Read a page of steps."""
    run_id = page.run.id
    found = engine.records.autocommit(
        lambda tx: tx.overview.steps(
            run_id,
            limit=ROWS + 1,
            after=asked.after,
            before=asked.before,
            status=asked.status,
            text=asked.text or None,
        )
    )
    rows, turn = page_links(found, asked, lambda step: step.order)
    children = {step.key: child for step in rows if (child := _child(engine, run_id, step))}
    ids = {step.key: node_id(run_id, step.key) for step in rows}
    return {"steps": rows, "turn": turn, "children": children, "ids": ids}


def page_links(
    found: Sequence[Any], asked: RunQuery, place: Callable[[Any], int]
) -> tuple[Sequence[Any], PageLinks]:
    """Return the rows of a page, of which one too many was read, and its links."""
    more = len(found) > ROWS
    if asked.before is not None:
        rows = found[-ROWS:]
        return rows, PageLinks(place(rows[0]) if more else None, place(rows[-1]) if rows else None)
    rows = found[:ROWS]
    first = place(rows[0]) if rows and asked.after is not None else None
    return rows, PageLinks(first, place(rows[-1]) if more else None)


def _child(engine: Engine, run_id: RunId, step: StepView) -> RunId | None:
    if not step.attempts or step.map_size is not None:
        return None
    is_flow = kind_of(engine, run_id, step) is StepKind.FLOW
    return child_run_id(node_id(run_id, step.key)) if is_flow else None


def kind_of(engine: Engine, run_id: RunId, step: StepView) -> StepKind:
    """Return the kind of a step: its own, or that in the definition of its run."""
    if step.called is not None:
        return step.called
    known = engine.definitions.shown(run_id).definition.spec.by_key.get(step.key)
    return known.kind if known is not None else StepKind.STEP


# --- errors --------------------------------------------------------------------------------------


def errors(engine: Engine, page: RunPage, _: RunQuery) -> TemplateContext:
    """Read what has failed, the cause first."""
    run = page.run
    found = _failures(engine, run.id, limit=_FAILURES + 1)
    way = _cause_chain(engine, run, found) if run.status in _FAILING else []
    shown = {trouble.failure.id for trouble in way}
    others = [FailureInRun(run, one) for one in found[:_FAILURES] if one.id not in shown]
    failed = page.states.get(StepState.FAILED, 0)
    left = failed - len(others) - sum(trouble.run.id == run.id for trouble in way)
    return {"way": list(reversed(way)), "others": alike(others), "left": max(left, 0)}


def alike(found: Sequence[FailureInRun]) -> list[list[FailureInRun]]:
    """Group failures of the same type at the same place in the code, in their order."""
    groups: dict[object, list[FailureInRun]] = {}
    for trouble in found:
        failure = trouble.failure
        place = formatting.place(failure.traceback)
        same = failure.error_type, place, failure.key if place is None else None
        groups.setdefault(same, []).append(trouble)
    return list(groups.values())


def _failures(
    engine: Engine, run_id: RunId, *, limit: int = 1, step: StepRunId | None = None
) -> list[FailedStep]:
    return engine.records.autocommit(
        lambda tx: tx.overview.failures(run_id, limit=limit, step=step)
    )


def _cause_chain(engine: Engine, run: RunView, found: Sequence[FailedStep]) -> list[FailureInRun]:
    """Return the failures from the run's own to the cause, which is the last."""
    way: list[FailureInRun] = []
    while len(way) < _MAX_DEPTH:
        failure = _culprit(engine, run, found)
        if failure is None or failure.id in {trouble.failure.id for trouble in way}:
            break
        way.append(FailureInRun(run, failure))
        if call := _failed_step(engine, run.id, failure.failed_step_id):
            failure = call
            way.append(FailureInRun(run, failure))
        child = _run(engine, child_run_id(failure.id))
        if child is None:
            break
        way[-1] = replace(way[-1], child=child.id)
        run, found = child, _failures(engine, child.id)
    return way


def _culprit(engine: Engine, run: RunView, found: Sequence[FailedStep]) -> FailedStep | None:
    """Return the failure that has failed a run; the first failure, while the run has not failed."""
    if run.stop_kind is None:
        return found[0] if found else None
    return _failed_step(engine, run.id, run.failed_step_id)


def _failed_step(engine: Engine, run_id: RunId, step: StepRunId | None) -> FailedStep | None:
    """Return the failure of a node; for a map, that of its first failed item."""
    found = [] if step is None else _failures(engine, run_id, step=step)
    return found[0] if found else None


def _run(engine: Engine, run_id: RunId) -> RunView | None:
    """Return a run, or the one as which it has continued."""
    newest = signals.newest(engine, run_id)
    return engine.records.autocommit(lambda tx: tx.runs.head(newest))


# --- cost ----------------------------------------------------------------------------------------


def cost(engine: Engine, page: RunPage, _: RunQuery) -> TemplateContext:
    """Read the cost of the run, by step and by model."""
    run_id = page.run.id
    is_program = engine.definitions.shown(run_id).definition.spec.program is not None

    def read(tx: Any) -> tuple[list[StepCost], list[CostLine]]:
        by_step = tx.overview.step_costs(run_id, limit=_COSTS + 1, by_name=is_program)
        return by_step, tx.llm_requests.costs(CostBy.MODEL, run_id=run_id)

    by_step, by_model = engine.records.autocommit(read)
    return {
        "by_step": by_step[:_COSTS],
        "cut": len(by_step) > _COSTS,
        "by_model": by_model,
        "unknown": sum(line.unknown for line in by_model),
        "calls": sum(line.calls for line in by_model),
    }


TABS: Final = {
    tab.name: tab
    for tab in (
        Tab("graph", "Graph", "run_picture", pictures.graph),
        Tab("gantt", "Gantt", "run_picture", pictures.gantt),
        Tab("steps", "Steps", "run_steps", steps),
        Tab("errors", "Errors", "run_errors", errors),
        Tab("events", "Events", "run_events", events.events),
        Tab("logs", "Logs", "run_logs", logs),
        Tab("cost", "Cost", "run_cost", cost),
    )
}
