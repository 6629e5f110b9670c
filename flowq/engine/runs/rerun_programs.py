"""What a rerun of a program reuses: its history, up to the fork.

The history is what the program has observed, in that order. Its rows are copied, so the program is
replayed over them with the code of today, as after any wait; where that code does something else,
the rerun is paused with a `NondeterminismError`. The fork is the first end that is not copied:

    a call is given        its end; it and all that was observed after it is dropped
    a call failed it       that call; failures that it has caught before stay in the history
    its own code failed    the first call that has failed, since the program may have judged it;
                           also of a canvas, whose tasks go on after a failure
    it was stopped         nothing: it goes on from all that it has observed

With other inputs nothing is copied. In both cases a call that the program makes before it observes
something new, and that has completed in the earlier run with the same inputs, is reused when it is
made (`engine.attempts.programs.reuse`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowq.core.errors import InvalidInput
from flowq.core.ids import RunId, StepRunId, node_id
from flowq.core.rerun import item_of
from flowq.core.spec import RerunSpec, StepKind
from flowq.core.states import StepState
from flowq.engine.advance.reuse import reused_call, reused_row
from flowq.engine.model.programs import ProgramState
from flowq.engine.model.reruns import OldRun, OldStep, ReusedStep


@dataclass(frozen=True, slots=True)
class History:
    """What is copied of a program.

    Attributes:
        calls: The calls that it has observed, in that order.
        fork: The call at which it forks, if it is known.
        rerun: What else the rerun may reuse.
    """

    calls: tuple[OldStep, ...]
    fork: str | None
    rerun: RerunSpec


def history(
    old: OldRun,
    rows: Sequence[OldStep],
    state: ProgramState,
    missing: set[StepRunId],
    *,
    fork: str | None,
    same_inputs: bool,
) -> History:
    """Return the history of a program up to the fork.

    Args:
        old: The earlier run.
        rows: Its rows.
        state: Its program.
        missing: Rows whose results cannot be read any more; the first of them is a fork, too.
        fork: The call from which on it runs again, or an item of a map that it has called.
        same_inputs: Whether the rerun has the inputs of the earlier run.

    Raises:
        InvalidInput: there is no such call.
    """
    calls = {row.key: row for row in rows if row.call is not None and row.map_index is None}
    named, item = (None, None) if fork is None else _named(old, calls, fork)
    seen = [calls[key] for key in _seen(state) if key in calls] if same_inputs else []
    end = _fork(rows, seen, named, first_failure=old.spec.reruns_failures)
    ids = {row.key for row in rows if row.id in missing}
    end = next((place for place, row in enumerate(seen[:end]) if row.key in ids), end)
    known = old.spec.rerun
    rerun = RerunSpec(
        of=old.id,
        fresh=() if item is None else (f"{named}[{item}]",),
        only=None if named is None else (() if item is None else (named,)),
        began_at=(known.began_at if known else None) or old.started_at,
        seed=(known.seed if known else None) or old.id,
    )
    return History(tuple(seen[:end]), seen[end].key if end < len(seen) else named, rerun)


def _named(old: OldRun, calls: Mapping[str, OldStep], fork: str) -> tuple[str, int | None]:
    """Return the call that is named, and the item of it: `fetch#2`, or the first call of `fetch`.

    Raises:
        InvalidInput: there is no such call.
    """
    item = item_of(fork)
    for name, index in [(fork, None), *([item] if item is not None else [])]:
        if name in calls:
            return name, index
        for key in calls:
            if key.rpartition("#")[0] == name:
                return key, index
    raise InvalidInput(
        f"run {old.id} has no call {fork!r}",
        hint=f"its calls: {', '.join(calls) or 'none'}; flowq runs show {old.id}",
    )


def _seen(state: ProgramState) -> list[str]:
    """Return the keys of the calls that a program has observed, before it has seen a cancel."""
    before = state.cancel.place if state.cancel is not None else None
    numbered = [
        row.spec.key
        for row in state.ended
        if row.observed is not None and (before is None or row.observed < before)
    ]
    if before is not None or not state.saw_all:
        return numbered
    # What it has observed in its last attempt has no number; what it gave up then, it never saw.
    return numbered + [
        row.spec.key
        for row in state.ended
        if row.observed is None and row.stored.status is not StepState.CANCELLED
    ]


def _fork(
    rows: Sequence[OldStep], seen: Sequence[OldStep], named: str | None, *, first_failure: bool
) -> int:
    """Return the place of the first end that is not copied."""
    program = next(row for row in rows if row.call is None and row.map_index is None)
    culprit = program.failed_step_id
    for place, row in enumerate(seen):
        if named is not None:
            forks = row.key == named
        elif first_failure:
            forks = _has_failed(row)
        elif culprit is not None:
            forks = row.id == culprit
        else:
            forks = program.status is StepState.FAILED and _has_failed(row)
        if forks:
            return place
    return len(seen)


def _has_failed(row: OldStep) -> bool:
    assert row.call is not None
    return row.status is StepState.FAILED and row.call.kind in (StepKind.STEP, StepKind.FLOW)


def copied(
    old: OldRun, run_id: RunId, calls: Sequence[OldStep], rows: Sequence[OldStep]
) -> tuple[ReusedStep, ...]:
    """Return the rows of a history for a rerun; a map has its items."""
    items: dict[str, list[OldStep]] = {}
    for row in rows:
        if row.map_index is not None:
            items.setdefault(row.key, []).append(row)
    found: list[ReusedStep] = []
    for place, call in enumerate(calls, start=1):
        found.append(reused_call(old.id, run_id, call, call.order, observed=place))
        if call.status is StepState.COMPLETED:
            node = node_id(run_id, call.key)
            found += [reused_row(one, node, one.order) for one in items.get(call.key, ())]
    return tuple(found)
