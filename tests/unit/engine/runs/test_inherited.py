"""What child runs have from their parents."""

from typing import Any

import pytest

from flowq.core.limits.budgets import BudgetSpec
from flowq.core.spec import FlowSpec
from flowq.engine.runs.inherited import NOTHING, Inherited, labels_of

SPEC = FlowSpec(name="flow", steps=())


@pytest.mark.parametrize(
    "metadata,labels",
    [
        ({}, {}),
        ({"customer": "acme", "team": 7, "vip": True, "share": 0.5}, None),
        ({"none": None, "list": [1], "dict": {"a": 1}, "long": "x" * 201, "k" * 201: "v"}, {}),
        ({"nul": "a\0b", "k\0": "v"}, {}),
        ({f"k{number}": number for number in range(25)}, {f"k{n}": str(n) for n in range(20)}),
    ],
)
def test_labels_are_the_short_scalars_of_the_metadata(
    metadata: dict[str, Any], labels: dict[str, str] | None
) -> None:
    expected = {"customer": "acme", "team": "7", "vip": "true", "share": "0.5"}
    assert labels_of(metadata) == (expected if labels is None else labels)


def test_run_without_any_of_it_keeps_its_spec() -> None:
    assert NOTHING.spec(SPEC, None, {"big": ["data"]}) is SPEC
    assert Inherited((), {}).spec(SPEC, None, {"customer": "acme"}) is SPEC


def test_child_run_has_the_labels_of_the_outermost_run() -> None:
    budget = BudgetSpec(tokens=5)
    outer = NOTHING.spec(SPEC, budget, {"customer": "acme"})
    child = Inherited(("run:1",), outer.labels).spec(SPEC, None, {"customer": "other"})

    assert (outer.budget, outer.labels) == (budget, {"customer": "acme"})
    assert (child.budget, child.charged_to, child.labels) == (None, ("run:1",), outer.labels)
