"""Records attempts that the task queue has ended, or will not begin.

A task that is revoked, that reaches a hard time limit, or that is rejected before its first line
never runs the code that records an attempt. The process that is notified of this fails the attempt,
with the attempt's own lease. A step that no worker has begun is claimed first, so that a second
message of it finds nothing to claim.

Workers advance the run: this process may be one that must not open the object store.
"""

import time

from flowq.core.errors import LeaseLost
from flowq.core.ids import LeaseToken, StepRunId
from flowq.engine.advance.dispatch import send_advance
from flowq.engine.advance.unreadable import set_aside_if_unreadable
from flowq.engine.attempts.outages import retry_on_outage
from flowq.engine.attempts.outcomes import delay_after, outcome_of
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.rows import Claim
from flowq.engine.ports import Transaction


def abort_attempt(
    engine: Engine, step_id: StepRunId, error: Exception, *, begun: bool = False
) -> bool:
    """Fail an attempt that the task queue has ended, or will not begin.

    Args:
        error: Why.
        begun: Whether to fail only an attempt that is running.

    Returns:
        Whether an attempt was failed. The steps of a paused run are left as they are.

    Raises:
        DatabaseUnavailable: it could not be recorded. The sweeper then resends the step, or its
            lease expires.
    """
    claim = retry_on_outage(engine, lambda _: _claim(engine, step_id, begun=begun), stop=True)
    if claim is None:
        return False
    try:
        with set_aside_if_unreadable(engine, claim.run_id):
            retry_on_outage(engine, lambda _: _fail(engine, claim, error), stop=True)
    except LeaseLost:
        return False  # it has ended by itself meanwhile
    return True


def _claim(engine: Engine, step_id: StepRunId, *, begun: bool) -> Claim | None:
    token = LeaseToken(engine.new_id())

    def take(tx: Transaction) -> Claim | None:
        claim = tx.steps.held(step_id)
        if claim is not None or begun:
            return claim
        lease, worker = engine.policies.lease, engine.worker
        return tx.steps.claim(step_id, token=token, lease=lease, worker=worker)

    return engine.records.transaction(take)


def _fail(engine: Engine, claim: Claim, error: Exception) -> None:
    step = claim.spec or engine.definitions.get(claim.run_id).step(claim.key)
    outcome = outcome_of(claim, step, error, {}, time.monotonic())
    delay = delay_after(engine, claim, step.retry, error)
    if delay is not None:
        if not engine.records.transaction(lambda tx: tx.steps.retry(claim, outcome, delay)):
            raise claim.lost()
        publish.step_retrying(engine, claim, outcome, delay)
        return
    if not engine.records.autocommit(
        lambda tx: tx.steps.fail(claim, outcome, advanced=False), idempotent=False
    ):
        raise claim.lost()
    publish.step_failed(engine, claim, outcome)
    batch = engine.records.autocommit(lambda tx: tx.steps.batch_of(claim.id))
    priority = engine.definitions.get(claim.run_id).definition.priority
    send_advance(engine, [batch] if batch is not None else [], priority=priority)
