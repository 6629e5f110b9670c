"""Reservations under budgets: how much a call of a model may cost before it is made. Pure.

Each call reserves its expected usage under each of its budgets, and the transaction that ends the
call replaces the reservation by what was used. A call is made if everything that is spent, reserved
and expected fits. One call alone is made while less than the budget is spent, whatever it costs.
So parallel calls exceed a budget by no more than the last call, and by what calls use beyond what
was expected of them.

The expected usage is the token limit of the call, or else the largest usage of the last such calls.
If neither is known, the call reserves all that is left: the first call of its kind is made alone,
and those after it know what it has used.

A call inside an open call never waits: the calls that it would wait for may be the one around it,
or wait for that one. It is made while less than the budget is spent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from flowq.core.limits.budgets import BudgetSpec
from flowq.core.usage import Usage

_NOTHING: Final = Usage()


@dataclass(frozen=True, slots=True)
class MeterUse:
    """What is used under a budget.

    Attributes:
        spent: By calls that have ended.
        reserved: By calls that are running.
        running: How many calls are running.
    """

    spent: Usage
    reserved: Usage = _NOTHING
    running: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget is spent, and the call is refused.

    Attributes:
        meter: The meter of the budget.
        text: Which part of the budget is spent, for people.
    """

    meter: str
    text: str


def reservations(
    uses: Mapping[str, MeterUse],
    budgets: Mapping[str, BudgetSpec],
    expected: Usage | None,
    *,
    nested: bool = False,
) -> dict[str, Usage] | Spent | None:
    """Decide about a call.

    Args:
        uses: What is used, by meter, in the order in which budgets are named to people.
        budgets: The budgets of those meters; a meter without one is not limited any more.
        expected: What the call may use; None when nothing is known.
        nested: Whether it is made inside an open call.

    Returns:
        What the call reserves under each meter; `Spent` if it must not be made; None if it has to
        wait for calls that are running.
    """
    for meter, use in uses.items():
        gone = budgets[meter].spent_by(use.spent) if meter in budgets else None
        if gone is not None:
            return Spent(meter, gone)
    made: dict[str, Usage] = {}
    for meter, use in uses.items():
        if meter not in budgets:
            continue
        left = _left(budgets[meter], use)
        if use.running and not nested and not _fits(budgets[meter], left, expected):
            return None
        made[meter] = left if expected is None else expected
    return made


def _left(budget: BudgetSpec, use: MeterUse) -> Usage:
    """Return what is neither spent nor reserved; 0 in what the budget does not limit."""
    tokens = (budget.tokens or 0) - use.spent.tokens - use.reserved.tokens
    cost = (budget.usd or Decimal(0)) - use.spent.cost - use.reserved.cost
    return Usage(max(tokens, 0), max(cost, Decimal(0)))


def _fits(budget: BudgetSpec, left: Usage, expected: Usage | None) -> bool:
    if expected is None:
        return (budget.tokens is None or left.tokens > 0) and (budget.usd is None or left.cost > 0)
    fits_tokens = budget.tokens is None or expected.tokens <= left.tokens
    return fits_tokens and (budget.usd is None or expected.cost <= left.cost)
