"""The claim of an attempt: one statement, which also reads what the attempt needs first.

That is the results of the nodes that the step reads, if this process knows the run. If it does not,
it is the definition of the run.
"""

from flowq.core.errors import InvalidFlow, RunNotFound, RunUnreadable
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.engine.attempts.outages import retry_on_outage
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Claim


def claim_attempt(engine: Engine, step_id: StepRunId, run_id: RunId | None) -> Claim | None:
    """Claim an attempt of a step and read what it needs; None when there is nothing to claim.

    A worker that cannot reach the database waits here, instead of draining the queue.
    """
    token = LeaseToken(engine.new_id())

    def work(tries: int) -> Claim | None:
        if tries:
            # The claim may have been committed with only its answer lost.
            engine.records.transaction(lambda tx: tx.steps.release_leases([token]))
        known = engine.definitions.cached(run_id) if run_id else None
        if run_id and known is None:
            return _claim_first(engine, step_id, run_id, token)
        return engine.records.autocommit(
            lambda tx: tx.steps.claim(
                step_id,
                token=token,
                lease=engine.policies.lease,
                worker=engine.worker,
                reads=known.reads(step_id) if known else (),
            ),
            idempotent=False,
        )

    try:
        return retry_on_outage(engine, work, stop=True)
    except RunNotFound:
        return None  # deleted since it was sent


def _claim_first(
    engine: Engine, step_id: StepRunId, run_id: RunId, token: LeaseToken
) -> Claim | None:
    """Claim an attempt of a run that this process does not know yet, and know the run from now on.

    Raises:
        RunNotFound: the run was deleted.
        RunUnreadable: its definition cannot be read. Then the step is not claimed.
    """
    lease, worker = engine.policies.lease, engine.worker
    try:
        found = engine.records.autocommit(
            lambda tx: tx.steps.claim_first(step_id, token=token, lease=lease, worker=worker),
            idempotent=False,
        )
        if found is None:
            return None
        claim, definition = found
        engine.definitions.add(definition)
    except (InvalidFlow, RunUnreadable, LookupError, ValueError):
        engine.records.transaction(lambda tx: tx.steps.release_leases([token]))
        engine.definitions.get(run_id)  # says why
        raise
    return claim
