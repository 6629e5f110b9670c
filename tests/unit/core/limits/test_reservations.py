"""Which calls of models a budget lets through while others run."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.limits.budgets import BudgetSpec
from flowq.core.limits.reservations import MeterUse, Spent, reservations
from flowq.core.usage import Usage

DOLLAR = BudgetSpec(usd=Decimal(1))


def usage(cents: int, tokens: int = 0) -> Usage:
    return Usage(tokens, Decimal(cents) / 100)


def one(use: MeterUse, expected: Usage | None, budget: BudgetSpec = DOLLAR) -> object:
    return reservations({"run": use}, {"run": budget}, expected)


@pytest.mark.parametrize(
    "spent,reserved,running,expected,decided",
    [
        (0, 0, 0, 30, {"run": usage(30)}),
        (40, 30, 1, 30, {"run": usage(30)}),
        (41, 30, 1, 30, None),
        (0, 0, 0, 500, {"run": usage(500)}),  # alone, whatever it costs
        (99, 0, 0, 500, {"run": usage(500)}),
        (99, 0, 3, 0, {"run": usage(0)}),
        (0, 0, 0, None, {"run": usage(100)}),  # the first of its kind reserves all
        (20, 30, 1, None, {"run": usage(50)}),
        (0, 100, 1, None, None),
        (0, 100, 1, 1, None),
        (100, 0, 0, 1, Spent("run", "$1.00 of $1.00")),
        (100, 50, 2, None, Spent("run", "$1.00 of $1.00")),
    ],
)
def test_call_is_made_if_what_is_expected_of_it_fits(
    spent: int, reserved: int, running: int, expected: int | None, decided: object
) -> None:
    use = MeterUse(usage(spent), usage(reserved), running)

    assert one(use, None if expected is None else usage(expected)) == decided


def test_both_parts_of_a_budget_and_all_budgets_hold() -> None:
    both = BudgetSpec(usd=Decimal(1), tokens=1000)
    busy = MeterUse(usage(0), usage(10, 900), 1)
    uses = {"run": busy, "user": MeterUse(usage(0))}

    assert one(busy, usage(10, 101), both) is None
    assert one(busy, usage(10, 100), both) == {"run": usage(10, 100)}
    assert reservations(uses, {"run": both, "user": DOLLAR}, usage(10, 101)) is None
    spent = reservations(
        {**uses, "user": MeterUse(usage(200))}, {"run": both, "user": DOLLAR}, usage(10, 101)
    )
    assert spent == Spent("user", "$2.00 of $1.00")
    assert reservations(uses, {"user": DOLLAR}, usage(5)) == {"user": usage(5)}


def test_call_inside_an_open_call_never_waits() -> None:
    full = {"run": MeterUse(usage(0), usage(100), 1)}

    assert reservations(full, {"run": DOLLAR}, usage(1), nested=True) == {"run": usage(1)}
    assert reservations(full, {"run": DOLLAR}, None, nested=True) == {"run": usage(0)}
    spent = reservations({"run": MeterUse(usage(100))}, {"run": DOLLAR}, usage(1), nested=True)
    assert spent == Spent("run", "$1.00 of $1.00")


@given(
    budget=st.integers(1, 2_000),
    calls=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=40),
    at_once=st.integers(1, 50),
    knows=st.sampled_from([True, False]),
    data=st.data(),
)
def test_parallel_calls_overshoot_by_the_last_call_and_what_surprises(
    budget: int, calls: list[tuple[int, int]], at_once: int, knows: object, data: st.DataObject
) -> None:
    """Calls begin and end in any order; each is (expected, used) in cents."""
    spec = BudgetSpec(usd=Decimal(budget) / 100)
    waiting, running = list(calls), list[tuple[Usage, int]]()
    spent, most, surprise = 0, 0, 0
    while waiting or running:
        held = Usage(cost=sum((one.cost for one, _ in running), Decimal(0)))
        use = MeterUse(usage(spent), held, len(running))
        begins = waiting and len(running) < at_once and data.draw(st.booleans(), label="begin")
        made: object = None
        if begins or not running:
            expected, used = waiting[0]
            made = one(use, usage(expected) if knows else None, spec)
            if isinstance(made, Spent):
                waiting.clear()
                assert spent >= budget
            elif isinstance(made, dict):
                waiting.pop(0)
                running.append((made["run"], used))
        if made is None and running:
            reserved, used = running.pop(data.draw(st.integers(0, len(running) - 1), label="end"))
            spent += used
            most = max(most, used)
            surprise += max(0, used - int(reserved.cost * 100))
    # Without a surprise, only a call that ran alone exceeds it.
    assert spent < budget + most + surprise
    assert running == []
