"""Budgets: each call of a model reserves what it may cost before it is made.

A run may have a budget, given when it was enqueued, by its flow or by a setting. Child runs spend
from it too, and may have their own in addition. A flow and a user may have a budget for each month.
What is spent is kept in meters, charged by the transaction that ends a call; `core.limits.
reservations` decides whether a call is made, refused, or waits for calls that are running. Without
a budget nothing is checked or charged.

When a budget is spent, the step that wants to call a model fails for good, or the run is paused and
the step queued again without counting the attempt. Raising the budget resumes the run; a run that
was paused by a monthly budget is resumed in the next month (see `months`).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn
from uuid import UUID

from typing_extensions import override

from flowq.core.errors import BudgetExceeded, InvalidInput, RunNotFound, Unavailable
from flowq.core.events import BudgetWarning
from flowq.core.ids import RunId
from flowq.core.limits.budgets import (
    BudgetAction,
    BudgetSpec,
    dollars,
    plain,
    run_meter,
    run_of_meter,
    warning_text,
    whole_tokens,
)
from flowq.core.limits.reservations import Spent, reservations
from flowq.core.states import BUDGET_STOPS, TERMINAL_RUN_STATES, AttemptEnd, RunState, StopKind
from flowq.core.usage import Usage
from flowq.engine.advance.after import finish
from flowq.engine.attempts.outcomes import AttemptDeferred, AttemptEnding, AttemptResult
from flowq.engine.engine import Engine
from flowq.engine.events import publish
from flowq.engine.model.actions import ActionKind
from flowq.engine.model.model_calls import Caller
from flowq.engine.model.rows import Claim, Definition, RunEnding
from flowq.engine.ports import Transaction
from flowq.engine.runs.actors import new_action
from flowq.engine.runs.pause import pause, resume
from flowq.engine.runtime.model_calls import AskedCall, CallBudgets

logger = logging.getLogger(__name__)


class BudgetPaused(AttemptDeferred):
    """Ends an attempt whose run was paused; it is neither a failure nor an error to catch."""

    def revert(self, engine: Engine, claim: Claim) -> AttemptResult:
        """Queue the step again; raises `LeaseLost`."""
        # As for other steps, the sweeper later parks it, or sends it if the run was resumed.
        delay = engine.policies.resend_after
        state = engine.records.transaction(
            lambda tx: tx.steps.requeue(claim, delay, AttemptEnd.PAUSED)
        )
        if state is None:
            raise claim.lost()
        if state is RunState.CANCELLING:
            finish(engine, claim.run_id)
            return AttemptResult(AttemptEnding.CANCELLED)
        return AttemptResult(AttemptEnding.DEFERRED)


def meters_of(engine: Engine, run_id: RunId) -> tuple[str, ...]:
    """Return the meters to which the calls of a run are charged; empty without a budget."""
    policies, own = engine.policies, engine.definitions.get(run_id).definition
    found = meters_of_runs(own)
    if _of_flow(engine, own) is not None:
        found.append(f"flow:{own.flow_name}")
    if policies.user_budget is not None and own.user_id is not None:
        found.append(f"user:{own.user_id}")
    return tuple(found)


def meters_of_runs(definition: Definition) -> list[str]:
    """Return the meters of the run and its ancestors; child runs are charged to them too."""
    own = [] if definition.spec.budget is None else [run_meter(definition.run_id)]
    return [*own, *definition.spec.charged_to]


def _ancestors(engine: Engine, definition: Definition) -> list[Definition]:
    """Return the parent of a run, the parent of that, and so on to the outermost run."""
    found: list[Definition] = []
    while (parent := definition.parent) is not None:
        place = engine.records.autocommit(partial(_place, step_id=parent))
        if place is None:
            break
        definition = engine.definitions.get(place.run_id).definition
        found.append(definition)
    return found


def _place(tx: Transaction, step_id: Any) -> Any:
    return tx.steps.node(step_id)


def _of_flow(engine: Engine, definition: Definition) -> BudgetSpec | None:
    return definition.spec.monthly_budget or engine.policies.flow_budget


@dataclass(frozen=True, slots=True)
class AttemptBudgets(CallBudgets):
    """The budgets of an attempt's calls, while it runs."""

    engine: Engine

    @override
    def reserve(self, asked: AskedCall) -> bool:
        """Reserve what a call may use under all budgets that it would be charged to.

        Returns:
            Whether it may be made now; otherwise it has to wait for calls that are running.

        Raises:
            BudgetExceeded: a budget with the action `fail` is spent.
            BudgetPaused: a budget with the action `pause` is spent; the run is now paused.
        """
        engine, caller = self.engine, asked.caller

        def work(tx: Transaction) -> tuple[Any, Mapping[str, BudgetSpec]]:
            expected = asked.bound or tx.llm_requests.largest(caller.step_name, asked.model_id)
            if expected is not None:
                cost = engine.policies.unknown_cost if expected.unpriced else expected.cost
                expected = replace(expected, cost=cost)
            uses = tx.meters.lock(caller.meters)
            budgets = _budgets(engine, tx, caller)
            made = reservations(uses, budgets, expected, nested=asked.nested)
            if made is not None and not isinstance(made, Spent):
                tx.meters.reserve(asked.id, caller, made)
            return made, budgets

        made, budgets = engine.records.transaction(work)
        if isinstance(made, Spent):
            _stop(engine, asked, made, budgets[made.meter])
        return made is not None

    @override
    def release(self, call_id: UUID) -> None:
        """Delete the reservation of a call that is not made."""
        self.engine.records.autocommit(lambda tx: tx.meters.release([call_id]))

    @override
    def warn(self, caller: Caller) -> None:
        """Warn once for each budget of which the share `warn_at` is reached."""
        engine = self.engine

        def read(tx: Transaction) -> tuple[Mapping[str, Usage], Mapping[str, BudgetSpec]]:
            return tx.meters.spent(caller.meters), _budgets(engine, tx, caller)

        try:
            spent, budgets = engine.records.autocommit(read)
            for meter, budget in budgets.items():
                warn_at = _warn_at(engine, meter, budget)
                if warn_at is None or budget.share_of(spent[meter]) < warn_at:
                    continue
                _warn(engine, caller, meter, budget, spent[meter], warn_at=warn_at)
        except Unavailable as error:  # the next call warns
            logger.info("budgets were not compared with what is spent: %s", error)


def _warn_at(engine: Engine, meter: str, budget: BudgetSpec) -> float | None:
    """Return the share at which a budget warns; that of a run is in its spec, not in its row."""
    run_id = run_of_meter(meter)
    if run_id is None:
        return budget.warn_at
    of_run = engine.definitions.get(run_id).definition.spec.budget
    return None if of_run is None else of_run.warn_at


def _warn(
    engine: Engine,
    caller: Caller,
    meter: str,
    budget: BudgetSpec,
    spent: Usage,
    *,
    warn_at: float,
) -> None:
    """Give the warning of a budget, if it was not given."""
    run_id = caller.run_id
    assert run_id is not None  # others have no budget
    share = budget.share_of(spent)
    warning = BudgetWarning.model_validate(
        {
            "run_id": run_id,
            "timestamp": engine.events.now(),
            "budget_of": meter.partition(":")[0],
            "warn_at": warn_at,
            "share": round(share, 4),
            "cost": spent.cost,
            "tokens": spent.tokens,
            "budget_usd": budget.usd,
            "budget_tokens": budget.tokens,
        }
    )
    recorded = warning.model_dump(mode="json", exclude={"run_id", "id", "rebuilt"})
    if not engine.records.transaction(lambda tx: tx.meters.warn(meter, run_id, recorded)):
        return
    logger.warning(
        "%s: %s",
        warning_text(f"budget of {_whose(meter)}", warn_at, share),
        budget.compared_to(spent),
        extra={"action": "budget", "run_id": str(run_id)},
    )
    publish.budget_warning(engine, warning)


def _stop(engine: Engine, asked: AskedCall, spent: Spent, budget: BudgetSpec) -> NoReturn:
    """Refuse a call, and pause the run if its budget says so; raises as `reserve`."""
    run_id, meter = asked.caller.run_id, spent.meter
    assert run_id is not None
    why = f"budget is spent: {spent.text} of {_whose(meter)}; {asked.model_id} was not called"
    if budget.action is BudgetAction.FAIL:
        raise BudgetExceeded(why, hint=_hint(meter, run_id))
    definition = engine.definitions.get(run_id).definition
    outermost = [definition, *_ancestors(engine, definition)][-1].run_id
    own = run_of_meter(meter)
    kind = StopKind.BUDGET_MONTH if own is None else StopKind.BUDGET
    pause(engine, own or outermost, why, kind)
    raise BudgetPaused(why)


def _budgets(engine: Engine, tx: Transaction, caller: Caller) -> dict[str, BudgetSpec]:
    """Return the budgets of a caller by meter, with what they were raised to."""
    runs = [run_id for run_id in map(run_of_meter, caller.meters) if run_id is not None]
    of_runs = tx.runs.budgets(runs) if runs else {}
    found = {meter: _budget(engine, caller, meter, of_runs) for meter in caller.meters}
    return {meter: budget for meter, budget in found.items() if budget is not None}


def _budget(
    engine: Engine, caller: Caller, meter: str, budgets: Mapping[RunId, BudgetSpec]
) -> BudgetSpec | None:
    run_id = run_of_meter(meter)
    if run_id is not None:
        return budgets.get(run_id)
    if meter.startswith("user:"):
        return engine.policies.user_budget
    assert caller.run_id is not None
    return _of_flow(engine, engine.definitions.get(caller.run_id).definition)


def _whose(meter: str) -> str:
    kind, _, name = meter.partition(":")
    return f"run {name}" if kind == "run" else f"{kind} {name!r} in this month"


def _hint(meter: str, run_id: RunId) -> str:
    kind, _, name = meter.partition(":")
    if kind == "run":
        return (
            "enqueue it with a larger budget; with on_exceeded='pause' you can raise it later: "
            f"flowq runs raise-budget {name} --usd AMOUNT"
        )
    return f"raise the monthly budget of the {kind}; the run is {run_id}"


def raise_budget(
    engine: Engine, run_id: RunId, *, usd: Any = None, tokens: int | None = None
) -> RunState:
    """Raise the budget of a run, and resume the run if the spent budget had paused it.

    Args:
        usd: The new total; None leaves it as it is.
        tokens: Likewise.

    Returns:
        The new state of the run.

    Raises:
        RunNotFound: there is no such run.
        InvalidInput: the run has no such budget, or one as large; or it has ended.
    """
    dollar, token = dollars(usd), whole_tokens(tokens)
    if dollar is None and token is None:
        raise InvalidInput("neither usd nor tokens is given", hint="e.g. raise_budget(usd=10)")
    raised = {"usd": None if dollar is None else plain(dollar), "tokens": token}
    details = {name: value for name, value in raised.items() if value is not None}
    action = new_action(engine, run_id, ActionKind.RAISE_BUDGET, details)

    def work(tx: Transaction) -> RunEnding | None:
        ending = tx.runs.ending(run_id)
        if ending is None:
            return None
        if ending.status in TERMINAL_RUN_STATES:
            raise InvalidInput(f"run {run_id} is finished: it is {ending.status}")
        old = tx.runs.budgets([run_id]).get(run_id) or BudgetSpec()
        _check_raise(run_id, "usd", old.usd, dollar)
        _check_raise(run_id, "tokens", old.tokens, token)
        tx.runs.raise_budget(run_id, usd=dollar, tokens=token)
        tx.meters.rearm(run_meter(run_id))
        tx.actions.insert(action)
        return ending

    ending = engine.records.transaction(work)
    if ending is None:
        raise RunNotFound.of(run_id)
    return resume(engine, run_id, by_hand=False) if _is_held(ending) else ending.status


def resume_by_hand(engine: Engine, run_id: RunId) -> RunState:
    """Resume a run as `resume` does; warn if it was paused by a budget that is still spent."""
    ending = engine.records.autocommit(lambda tx: tx.runs.ending(run_id))
    state = resume(engine, run_id)
    if ending is not None and _is_held(ending):
        logger.warning(
            "run %s was paused when its budget was spent, and will be paused again at its next "
            "call of a model; to raise the budget: flowq runs raise-budget %s --usd AMOUNT",
            run_id,
            run_id,
            extra={"action": "resume", "run_id": str(run_id)},
        )
    return state


def _is_held(ending: RunEnding) -> bool:
    """Return whether a budget has paused a run."""
    stop = ending.stop
    return ending.status is RunState.PAUSED and stop is not None and stop.kind in BUDGET_STOPS


def _check_raise(
    run_id: RunId, name: str, old: Decimal | int | None, new: Decimal | int | None
) -> None:
    if new is None:
        return
    if old is None:
        raise InvalidInput(
            f"run {run_id} has no budget in {name}",
            hint="pass the budget when you enqueue the run: enqueue(…, budget=Budget(…))",
        )
    if new <= old:
        raise InvalidInput(
            f"the budget of run {run_id} is {plain(Decimal(old))} {name} already",
            hint="give the new total, not the amount to add",
        )
