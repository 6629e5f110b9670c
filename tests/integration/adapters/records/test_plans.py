"""The plans of PostgreSQL for statements about rows whose ids are given.

An ANALYZE while nothing is open finds the partial indexes of open rows empty. They must not look
like the cheapest way to a row of a given id: the plan is kept when they are full again.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import (
    CompoundSelect,
    Connection,
    Engine,
    Insert,
    Select,
    UpdateBase,
    create_engine,
    insert,
    text,
)

from flowq.adapters import records as package
from flowq.adapters.records.migrations import migrate
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.records.steps.attempts import CLAIMED

#: Steps that have ended, of as many runs.
_ROWS = 3_000
_KINDS = Select | UpdateBase | CompoundSelect
_OF_A_ROW = re.compile(r"\bflow_(?:step_)?runs\.id (?:=|IN) ")
#: What reads many rows and looks at their ids then: a scan, or a join of a step and its run.
_FILTERED_BY_ID = re.compile(
    r"^Filter:.*\bid = (?:\$|ANY \(ARRAY\[\$)"
    r"|^Join Filter:.*(?:flow_run_id = flow_runs\.id|flow_runs\.id = flow_step_runs\.flow_run_id)"
)


@pytest.fixture
def quiet(empty_postgres_url: str) -> Iterator[Connection]:
    """A database whose rows have all ended, and whose planner knows that."""
    migrate.upgrade(empty_postgres_url)
    engine: Engine = create_engine(empty_postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        runs = [uuid4() for _ in range(_ROWS)]
        both = {"status": "completed", "created_at": datetime.now(UTC)}
        one = {**both, "flow_name": "a", "inputs": {}, "spec": {}}
        connection.execute(insert(RUNS), [{"id": run, **one} for run in runs])
        one = {**both, "step_name": "a", "step_key": "a", "step_order": 1}
        connection.execute(
            insert(STEPS), [{"id": uuid4(), "flow_run_id": run, **one} for run in runs]
        )
        connection.execute(text("VACUUM ANALYZE"))
        yield connection
    engine.dispose()


def _statements() -> dict[str, Any]:
    """The statements that modules of the records have made at import, by their names."""
    found: dict[str, Any] = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if ".invariants" in module.name:
            continue  # they read everything
        for name, value in vars(importlib.import_module(module.name)).items():
            named = value.items() if isinstance(value, dict) else [(None, value)]
            for key, one in named:
                made = one.statement if isinstance(one, Prepared) else one
                reads = not isinstance(made, Insert) or made.select is not None
                if isinstance(made, _KINDS) and reads and key != "sqlite":
                    found[f"{module.name}.{name}{'' if key is None else f'[{key}]'}"] = made
    return found


def _explained(connection: Connection, statement: Any) -> list[str]:
    """The lines of the plan of a statement for any values."""
    compiled: Any = statement.compile(dialect=connection.dialect)
    binds = compiled.binds.values()
    asked = [bound for bound in binds if bound.required or bound.value is None]
    given = {bound.key: [None, None] if bound.expanding else None for bound in asked}
    sql = Prepared(statement)._form(connection.dialect, given).sql
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    sql = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", sql)
    driver: Any = connection.connection.dbapi_connection
    # The statement that is explained has parameters, EXPLAIN itself has none.
    rows = driver.execute(f"EXPLAIN (GENERIC_PLAN) {sql}".replace("%%", "%"), prepare=False)
    return [row[0].strip() for row in rows]


def test_rows_of_given_ids_are_found_by_their_ids(quiet: Connection) -> None:
    filtered, seen = {}, 0
    for name, statement in _statements().items():
        if _OF_A_ROW.search(str(statement.compile(dialect=quiet.dialect))):
            seen += 1
            plan = _explained(quiet, statement)
            if any(_FILTERED_BY_ID.search(line) for line in plan):
                filtered[name] = plan
    assert seen > 50
    assert not filtered, "\n\n".join("\n".join([name, *plan]) for name, plan in filtered.items())


def test_claim_reads_two_rows_by_their_ids(quiet: Connection) -> None:
    scans = [line.partition("  (")[0] for line in _explained(quiet, CLAIMED) if "Scan" in line]
    assert scans == [
        "->  Index Scan using pk_flow_step_runs on flow_step_runs",
        "->  Index Scan using pk_flow_runs on flow_runs",
    ]
