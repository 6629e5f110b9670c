"""Limits of a key: attempts that run at once, attempts or tokens within a time.

They are checked between the claim and the user's code, because a key may name inputs. An attempt
that may not begin is reverted: its step is queued again as if it had never been claimed, without a
lease and hidden from the sweeper, and waits in a line. It holds no worker and has no message.

    at once   an attempt that frees a slot promises it to the first in the line, and sends that
    a rate    a step that has to wait gets a turn, at a time that is known, if that is near; its
              message comes back by then, or the sweeper's. The others wait in a line, from which
              the sweeper gives turns.
    tokens    what an attempt may use is reserved until it ends (see `core.limits.token_rates`). One
              of those that have to wait comes back when there will be room; who begins or ends
              sends as many of the others as there is room for, and so does the sweeper.

A slot is tied to the lease of its attempt. When a worker dies, a sweeper frees its slots after the
lease has expired, and sends the next step in the line. If a step begins to wait while the last slot
is freed, each side could miss the other: so each checks for the other after its own commit.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from inspect import BoundArguments
from typing import Final

from flowq.core.errors import Unavailable
from flowq.core.limits.slots import Limit, limit_of
from flowq.core.limits.token_rates import Reservation
from flowq.core.spec import StepSpec
from flowq.core.states import RunState
from flowq.engine.advance.after import finish
from flowq.engine.advance.dispatch import alone, send
from flowq.engine.attempts.caching import by_name
from flowq.engine.attempts.outages import retry_on_outage
from flowq.engine.attempts.outcomes import AttemptDeferred, AttemptEnding, AttemptResult
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Claim, StepRef
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import RegisteredStep

logger = logging.getLogger(__name__)

#: How far ahead turns of rates are given: a cancelled step wastes no more than that.
_HORIZON: Final = timedelta(seconds=60)
#: How long before its turn a message is sent, or kept in a worker's memory.
_MAX_TURNS: Final = 1_000
_MAX_PROMISES: Final = 1_000
#: A slot that was taken just now may belong to a lease that a sweeper cannot see yet.
_RECLAIM_AFTER: Final = timedelta(seconds=10)
_FORGET: Final = 1_000


class Throttled(AttemptDeferred):
    """Reverts an attempt that a limit does not let begin now."""

    def __init__(self, limit: Limit, taken: Sequence[Limit], *, undone: bool) -> None:
        super().__init__(limit.key)
        self.limit = limit
        self.taken = taken  #: Limits of which it briefly held a slot.
        self.undone = undone  #: Whether all its writes were rolled back.

    def revert(self, engine: Engine, claim: Claim) -> AttemptResult:
        """Queue the step again and put it in the line; raises `LeaseLost`."""
        return _requeue(engine, claim, self)


def limits_of(step: StepSpec, step_type: RegisteredStep, bound: BoundArguments) -> list[Limit]:
    """Return the limits that apply to an attempt."""
    if not step.limits:
        return []
    arguments = by_name(bound)
    if step_type.model is not None and any("{model" in spec.key for spec in step.limits):
        arguments = {"model": step_type.model(arguments), **arguments}
    return [limit_of(spec, arguments) for spec in step.limits]


@contextmanager
def within(engine: Engine, claim: Claim, limits: Sequence[Limit]) -> Iterator[None]:
    """Hold a slot of each limit during the block.

    Raises:
        Denied: a limit has no free slot.
        DatabaseUnavailable: the limits could not be checked.
    """
    if not limits:
        yield
        return

    reserved = _enter(engine, claim, limits)
    try:
        yield
    finally:
        for limit in limits:
            if limit.per is None:
                _pass_slot(engine, claim, limit)
        if reserved:
            _release_reservations(engine, reserved)


def _enter(engine: Engine, claim: Claim, limits: Sequence[Limit]) -> list[Reservation]:
    """Take a slot of each limit, and reserve tokens; raises as `within`."""
    slots = [limit for limit in limits if not limit.counts_tokens]
    # Each of these is locked, so they are taken in one order, and as late as possible.
    rates = sorted((limit for limit in limits if limit.counts_tokens), key=lambda one: one.key)
    at_once = not rates and len(slots) == 1 and slots[0].per is None  # then it is one statement

    def work(tx: Transaction) -> list[Reservation]:
        reserved: list[Reservation] = []
        for number, limit in enumerate(slots):
            if not tx.limits.take(limit, claim.id, claim.token):
                raise Throttled(limit, slots[:number], undone=not at_once)
        for limit in rates:
            reservation = tx.token_rates.admit(limit, claim.id)
            if reservation is None:
                raise Throttled(limit, slots, undone=True)
            reserved.append(reservation)
        return reserved

    run = engine.records.autocommit if at_once else engine.records.transaction
    reserved = retry_on_outage(engine, lambda _: run(work))
    for limit in rates:
        _send_admitted(engine, limit)
    return reserved


def _release_reservations(engine: Engine, reserved: Sequence[Reservation]) -> None:
    """Release the reservations of an attempt, and let others begin."""
    try:
        engine.records.transaction(lambda tx: tx.token_rates.release(reserved))
        for one in reserved:
            _send_admitted(engine, one.limit)
    except Unavailable as error:
        # It expires with the time span of the rate.
        logger.warning("reserved tokens are not released: %s", error)


def _send_admitted(engine: Engine, limit: Limit) -> None:
    """Send waiting steps for which the token rate now has capacity."""
    if engine.records.autocommit(lambda tx: tx.limits.is_waited_for(limit)):
        _give_turns(engine, limit)


def _pass_slot(engine: Engine, claim: Claim, limit: Limit) -> None:
    """Pass a slot to the next step in the line."""
    promised_for = engine.policies.resend_after
    try:
        place = engine.records.transaction(
            lambda tx: tx.limits.hand_over(limit, claim.token, promised_for)
        )
        if place is not None:
            _send(engine, [place])
        elif engine.records.autocommit(lambda tx: tx.limits.is_waited_for(limit)):
            _promise(engine, limit)
    except Unavailable as error:
        # The lease ends with the attempt, and then the sweeper frees the slot.
        logger.warning("a slot of %s is left to the sweeper: %s", limit.key, error)


def _requeue(engine: Engine, claim: Claim, denied: "Throttled") -> AttemptResult:
    limit = denied.limit

    def work(tx: Transaction) -> tuple[timedelta | None, RunState]:
        if limit.counts_tokens:
            delay = tx.token_rates.wait(limit, claim.id, _HORIZON)
        else:
            if denied.undone:
                tx.limits.make(limit)
            delay = tx.limits.wait(limit, claim.id, _HORIZON)
        late = None if delay is None else delay + engine.policies.resend_after
        state = tx.steps.requeue(claim, late)
        if state is None:
            raise claim.lost()
        return delay, state

    delay, state = engine.records.transaction(work)
    for each in (limit, *denied.taken):
        if each.per is None and engine.records.autocommit(partial(_has_free, limit=each)):
            _promise(engine, each)
    if state is RunState.CANCELLING:
        finish(engine, claim.run_id)  # which cancels the step
        return AttemptResult(AttemptEnding.CANCELLED)
    return AttemptResult(AttemptEnding.DEFERRED, delay=delay)


def _has_free(tx: Transaction, limit: Limit) -> bool:
    return tx.limits.has_free(limit)


def _promise(engine: Engine, limit: Limit, most: int = 1) -> int:
    """Promise free slots to waiting steps, and send these; returns how many."""
    places: list[StepRef] = []
    promised_for = engine.policies.resend_after
    while len(places) < most:
        place = engine.records.transaction(lambda tx: tx.limits.promise(limit, promised_for))
        if place is None:
            break
        places.append(place)
    _send(engine, places)
    return len(places)


def _send(engine: Engine, places: Sequence[StepRef]) -> None:
    if places:
        send(engine, alone(engine, places), again=True)


def sweep_limits(engine: Engine) -> int:
    """Free the slots of lost attempts, and send steps that may begin; called by the sweeper.

    Returns:
        How many slots were freed and steps sent.
    """
    records = engine.records
    moved = records.autocommit(lambda tx: tx.limits.reclaim(_RECLAIM_AFTER))
    records.autocommit(lambda tx: tx.meters.reclaim(_RECLAIM_AFTER))
    for limit in records.autocommit(lambda tx: tx.limits.waited_for()):
        if limit.per is None:
            moved += _promise(engine, limit, _MAX_PROMISES)
        else:
            moved += _give_turns(engine, limit)
    records.autocommit(lambda tx: tx.limits.forget_ended(_FORGET))
    records.autocommit(lambda tx: tx.token_rates.purge(_FORGET))
    return moved


def _give_turns(engine: Engine, limit: Limit) -> int:
    def work(tx: Transaction) -> list[StepRef]:
        if limit.counts_tokens:
            return tx.token_rates.turns(limit, _HORIZON, _MAX_TURNS)
        return tx.limits.turns(limit, _HORIZON, _MAX_TURNS)

    places = engine.records.transaction(work)
    _send(engine, places)
    return len(places)
