"""What the pages of costs and of a flow say."""

from datetime import date
from decimal import Decimal

import pytest

from flowq.core.errors import InvalidInput
from flowq.core.limits.budgets import BudgetAction, BudgetSpec
from flowq.core.spec import FlowSpec
from flowq.core.usage import Tokens, Usage
from flowq.engine.engine import Policies
from flowq.engine.model.model_calls import CostLine
from flowq.engine.queries.flow_page import StepFigures
from flowq.engine.queries.lists import BudgetUsage, CacheSavings
from flowq.entrypoints.flower.pages import windows
from flowq.entrypoints.flower.pages.costs import BudgetLine, Costs, days, monthly_lines
from flowq.entrypoints.flower.pages.flow import dearest, slowest


def line(name: str, cost: str, unknown: int = 0) -> CostLine:
    return CostLine(name, 3, 1, unknown, Tokens(10, 5, 1), Decimal(cost))


def test_every_day_has_its_bar() -> None:
    found = days(
        [line("2026-02-01", "2"), line("2026-01-30", "0.5")], date(2026, 1, 30), date(2026, 2, 1)
    )

    assert ["2026-01-30", "2026-01-31", "2026-02-01"] == [day.day.isoformat() for day in found]
    assert [25.0, 0.0, 100.0] == [day.height for day in found]
    assert [3, 0, 3] == [day.line.calls for day in found]


def test_days_without_a_known_cost_have_no_height() -> None:
    (day,) = days([line("2026-01-30", "0", 3)], date(2026, 1, 30), date(2026, 1, 30))

    assert (0.0, 3) == (day.height, day.line.unknown)


def test_total_is_the_sum_of_all_lines() -> None:
    found = CostLine.total([line("a", "1.5", 1), line("b", "2")])

    assert CostLine(None, 6, 2, 1, Tokens(20, 10, 2), Decimal("3.5")) == found


@pytest.mark.parametrize(
    "budget, share, words, left",
    [
        (BudgetSpec(usd=Decimal(8)), 0.25, "$2.00 of $8.00", "$6.00"),
        (BudgetSpec(tokens=1_000), 0.5, "500 of 1,000 tokens", "500 tokens"),
        (
            BudgetSpec(usd=Decimal(8), tokens=625),
            0.8,
            "$2.00 of $8.00, 500 of 625 tokens",
            "$6.00, 125 tokens",
        ),
        (BudgetSpec(usd=Decimal(1)), 2.0, "$2.00 of $1.00", "spent: steps fail"),
        (
            BudgetSpec(tokens=500, action=BudgetAction.PAUSE),
            1.0,
            "500 of 500 tokens",
            "spent: runs pause",
        ),
        (None, 0.0, "$2.00, 500 tokens", "budget not known to Flower"),
    ],
)
def test_budget_says_what_is_used_and_left(
    budget: BudgetSpec | None, share: float, words: str, left: str
) -> None:
    found = BudgetLine("ada", Usage(500, Decimal(2)), budget)

    assert (words, left) == (found.words, found.left)
    assert found.share == pytest.approx(share)


def test_budget_of_a_flow_is_its_own_or_the_one_of_all_flows() -> None:
    own = BudgetSpec(usd=Decimal(4))
    costs = Costs(
        by={},
        saved=CacheSavings(0, Usage()),
        monthly=[
            BudgetUsage("flow", "other", Usage(0, Decimal(1))),
            BudgetUsage("flow", "own", Usage(0, Decimal(1))),
            BudgetUsage("user", "ada", Usage(0, Decimal(1))),
        ],
        specs={"own": FlowSpec(name="own", steps=(), monthly_budget=own)},
        runs=[],
        policies=Policies(flow_budget=BudgetSpec(usd=Decimal(10))),
    )

    found = monthly_lines(costs)

    assert [("own", own), ("other", costs.policies.flow_budget), ("ada", None)] == [
        (one.name, one.budget) for _, one in found
    ]


def test_slowest_and_dearest_steps() -> None:
    def step(name: str, p95: int | None, tokens: int, cost: str) -> StepFigures:
        return StepFigures(name, 1, 0, p95, p95, tokens, Decimal(cost))

    steps = (step("a", 5, 0, "0"), step("b", 9, 7, "0"), step("c", None, 1, "3"))

    assert ["b", "a"] == [one.name for one in slowest(steps)]
    assert ["c", "b"] == [one.name for one in dearest(steps)]


def test_windows() -> None:
    assert windows.WEEK is windows.chosen("", (windows.DAY, windows.WEEK), windows.WEEK)
    assert windows.DAY is windows.chosen("day", (windows.DAY, windows.WEEK), windows.WEEK)
    with pytest.raises(InvalidInput, match="year"):
        windows.chosen("year", (windows.DAY, windows.WEEK), windows.WEEK)
