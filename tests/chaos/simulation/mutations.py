"""Engines that are broken on purpose, each in one way, to show that the simulation finds it.

Each function here takes a guard, a mark or a message away, as a careless change would. It patches
methods of the ports and functions of the engine, not their SQL, so that it stays true to its name
while that is rewritten.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import pytest
from sqlalchemy import select, update

from flowq.adapters.records.control.signals import SqlSignals
from flowq.adapters.records.runs.repo import FlowRunRepo
from flowq.adapters.records.sql.repository import SIGNALS, STEPS
from flowq.adapters.records.steps.repo import FlowStepRunRepo
from flowq.adapters.records.sweeps.steps import SqlSweeps
from flowq.core.ids import BatchId, LeaseToken, RunId, StepRunId, parse_batch
from flowq.core.states import TERMINAL_STEP_STATES, RunState, StepState
from flowq.engine.engine import Engine
from flowq.engine.model.rows import RunEnding
from flowq.engine.runs.submission import submit

Patch: TypeAlias = pytest.MonkeyPatch
_C = STEPS.c


def tokens_are_used_again(patch: Patch) -> None:
    """Every lease of a step has the same token: whoever once held it may write."""
    claim = FlowStepRunRepo.claim

    def broken(repo: FlowStepRunRepo, step_id: StepRunId, **given: Any) -> Any:
        return claim(repo, step_id, **{**given, "token": LeaseToken(step_id)})

    patch.setattr(FlowStepRunRepo, "claim", broken)


def running_steps_are_claimed(patch: Patch) -> None:
    """The claim takes a step that another worker runs: a duplicate runs it again."""
    claim = FlowStepRunRepo.claim

    def broken(repo: FlowStepRunRepo, step_id: StepRunId, **given: Any) -> Any:
        running = update(STEPS).where(_C.id == step_id, _C.status == StepState.RUNNING)
        repo._run(running.values(status=StepState.QUEUED, lease_token=None, lease_expires_at=None))
        return claim(repo, step_id, **given)

    patch.setattr(FlowStepRunRepo, "claim", broken)


def lost_leases_are_ignored(patch: Patch) -> None:
    """An attempt that has lost its lease goes on as if its completion had been recorded."""
    complete = FlowStepRunRepo.complete

    def broken(repo: FlowStepRunRepo, *args: Any, **given: Any) -> bool:
        complete(repo, *args, **given)
        return True

    patch.setattr(FlowStepRunRepo, "complete", broken)


def completed_steps_are_not_marked(patch: Patch) -> None:
    """A step that has counted its dependents down does not say so: the sweeper does it again."""
    complete = FlowStepRunRepo.complete

    def broken(repo: FlowStepRunRepo, claim: Any, outcome: Any, **_given: Any) -> bool:
        return complete(repo, claim, outcome, advanced=False)

    patch.setattr(FlowStepRunRepo, "complete", broken)


def batches_advance_twice(patch: Patch) -> None:
    """The end of a batch counts its dependents down each time that it is delivered."""
    advance = FlowStepRunRepo.advance

    def broken(
        repo: FlowStepRunRepo, run_id: RunId, batch: BatchId | None, keys: Any = None
    ) -> dict[str, StepState]:
        advance(repo, run_id, batch, keys)
        where = [_C.flow_run_id == run_id, _C.map_index.is_(None)]
        where.append(_C.batch_id == batch if keys is None else _C.step_key.in_(keys))
        ended = select(_C.step_key, _C.status).where(
            *where, _C.status.in_(tuple(TERMINAL_STEP_STATES))
        )
        return {row[0]: StepState(row[1]) for row in repo._run(ended)}

    patch.setattr(FlowStepRunRepo, "advance", broken)


def runs_close_with_open_steps(patch: Patch) -> None:
    """Nobody looks whether all steps have ended before a run is closed."""
    ending = FlowRunRepo.ending

    def broken(repo: FlowRunRepo, run_id: RunId) -> RunEnding | None:
        found = ending(repo, run_id)
        return None if found is None else replace(found, has_open=False)

    patch.setattr(FlowRunRepo, "ending", broken)


def lost_messages_stay_lost(patch: Patch) -> None:
    """The sweeper does not send again what was lost."""

    def broken(_engine: Engine, _batches: Sequence[Any]) -> None:
        return None

    patch.setattr("flowq.engine.sweeper.sweep.resend", broken)


def _finds_nothing(patch: Patch, question: str) -> None:
    def broken(_sweeps: SqlSweeps, *_args: Any, **_given: Any) -> list[Any]:
        return []

    patch.setattr(SqlSweeps, question, broken)


def lapsed_leases_stay(patch: Patch) -> None:
    """The sweeper does not look for steps whose worker is gone."""
    _finds_nothing(patch, "expired_leases")


def ended_batches_stay(patch: Patch) -> None:
    """The sweeper does not look for batches that have ended without anyone going on."""
    _finds_nothing(patch, "unadvanced")


def stalled_runs_stay(patch: Patch) -> None:
    """The sweeper does not look for runs that only an advance can move."""
    _finds_nothing(patch, "stalled")


def lines_are_left(patch: Patch) -> None:
    """The sweeper does not look at the lines of shares."""

    def broken(_engine: Engine, _grace: Any) -> int:
        return 0

    patch.setattr("flowq.engine.sweeper.sweep.send_lines", broken)


def pending_runs_stay(patch: Patch) -> None:
    """The sweeper does not look for runs whose time to begin has come."""
    _finds_nothing(patch, "starting")


def recoveries_count_as_failures(patch: Patch) -> None:
    """A step that lost its worker has one attempt of its own less."""
    lapsed = SqlSweeps.expired_leases

    def broken(sweeps: SqlSweeps, **given: Any) -> Any:
        found = lapsed(sweeps, **given)
        for one in found:
            index = one.place.map_index
            sweeps._run(
                update(STEPS)
                .where(
                    _C.flow_run_id == one.place.run_id,
                    _C.step_key == one.place.key,
                    _C.map_index.is_(None) if index is None else _C.map_index == index,
                )
                .values(recoveries=0)
            )
        return found

    patch.setattr(SqlSweeps, "expired_leases", broken)


def children_begin_apart(patch: Patch) -> None:
    """A step waits in one transaction, and the child run that it waits for begins in another."""

    def broken(engine: Engine, *args: Any, before: Callable[[Any], Any], **given: Any) -> RunId:
        engine.records.transaction(before)
        return submit(engine, *args, **given)

    patch.setattr("flowq.engine.attempts.run.submit", broken)


def resumed_steps_stay_out_of_sight(patch: Patch) -> None:
    """A resume sends the steps that were queued, but the sweeper does not ask about them again."""
    unpark = FlowStepRunRepo.unpark

    def broken(repo: FlowStepRunRepo, run_ids: Sequence[RunId], *times: Any) -> Any:
        found = unpark(repo, run_ids, *times)
        repo.park(run_ids)
        return found

    patch.setattr(FlowStepRunRepo, "unpark", broken)


def children_of_paused_runs_begin(patch: Patch) -> None:
    """A step starts its child run without looking whether its own run is paused."""
    kept = FlowRunRepo.status_kept

    def broken(repo: FlowRunRepo, run_id: RunId) -> RunState | None:
        state = kept(repo, run_id)
        return RunState.RUNNING if state is RunState.PAUSED else state

    patch.setattr(FlowRunRepo, "status_kept", broken)


def programs_are_woken_without_a_mark(patch: Patch) -> None:
    """The end of a call wakes its program, but is not marked: the sweeper finds it for ever."""
    wake = FlowStepRunRepo.wake

    def broken(
        repo: FlowStepRunRepo, program: StepRunId, batch: BatchId, resend_after: Any
    ) -> bool:
        queued = wake(repo, program, batch, resend_after)
        ended = update(STEPS).where(
            _C.flow_run_id == parse_batch(batch)[1],
            _C.batch_id == batch,
            _C.status.in_(tuple(TERMINAL_STEP_STATES)),
        )
        repo._run(ended.values(advanced=False))
        return queued

    patch.setattr(FlowStepRunRepo, "wake", broken)


def signals_are_given_twice(patch: Patch) -> None:
    """A signal that a wait was given is not marked as taken."""
    match = SqlSignals.match

    def broken(signals: SqlSignals, run_id: RunId, **given: Any) -> list[str]:
        keys = match(signals, run_id, **given)
        free = update(SIGNALS).where(SIGNALS.c.flow_run_id == run_id)
        signals._run(free.values(consumed_by=None, consumed_at=None))
        return keys

    patch.setattr(SqlSignals, "match", broken)


def signals_stay_with_the_old_run(patch: Patch) -> None:
    """What a run has not received does not go with it when it goes on as another."""

    def broken(_signals: SqlSignals, _run_id: RunId, _new: RunId) -> None:
        return None

    patch.setattr(SqlSignals, "move", broken)


Mutation: TypeAlias = Callable[[Patch], None]

MUTATIONS: Final[Sequence[Mutation]] = (
    tokens_are_used_again,
    running_steps_are_claimed,
    lost_leases_are_ignored,
    completed_steps_are_not_marked,
    batches_advance_twice,
    runs_close_with_open_steps,
    lost_messages_stay_lost,
    lapsed_leases_stay,
    ended_batches_stay,
    stalled_runs_stay,
    lines_are_left,
    pending_runs_stay,
    recoveries_count_as_failures,
    children_begin_apart,
    resumed_steps_stay_out_of_sight,
    children_of_paused_runs_begin,
    programs_are_woken_without_a_mark,
    signals_are_given_twice,
    signals_stay_with_the_old_run,
)
