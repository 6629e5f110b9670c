"""Triggers that keep every change of a state, so that what was recorded twice is counted.

The rows of a run say how it ended; only their history says whether they ended once.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlalchemy import Engine, text

from flowq.core.states import (
    TERMINAL_RUN_STATES,
    TERMINAL_STEP_STATES,
    RunState,
    StepState,
    run_sources,
    step_sources,
)

_TABLE: Final = """CREATE TABLE chaos_audit (
    number {number} PRIMARY KEY,
    kind TEXT NOT NULL, row_id TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
    attempt INTEGER, worker TEXT, at DOUBLE PRECISION NOT NULL)"""
_INSERT: Final = "INSERT INTO chaos_audit (kind, row_id, before, after, attempt, worker, at)"
_TERMINAL: Final = "('completed', 'failed', 'skipped', 'cancelled')"

_STEPS: Final = f"""OLD.status <> NEW.status OR (OLD.status IN {_TERMINAL}
    AND (CAST(OLD.result AS TEXT) IS DISTINCT FROM CAST(NEW.result AS TEXT)
        OR OLD.attempt <> NEW.attempt OR OLD.tokens_used <> NEW.tokens_used))
    OR (OLD.status = 'running' AND OLD.lease_token IS DISTINCT FROM NEW.lease_token)"""
_RUNS: Final = f"""OLD.status <> NEW.status OR (OLD.status IN {_TERMINAL}
    AND CAST(OLD.outputs AS TEXT) IS DISTINCT FROM CAST(NEW.outputs AS TEXT))"""


def install(engine: Engine) -> None:
    """Begin to keep what happens to runs and steps in a database."""
    on_postgres = engine.dialect.name == "postgresql"
    number = "BIGSERIAL" if on_postgres else "INTEGER"
    statements = [_TABLE.format(number=number)]
    for table, kind, condition, values in (
        ("flow_step_runs", "step", _STEPS, "NEW.attempt, NEW.worker"),
        ("flow_runs", "run", _RUNS, "NULL, NULL"),
    ):
        row = f"'{kind}', {{id}}, OLD.status, NEW.status, {values}, {{now}}"
        if on_postgres:
            row = row.format(
                id="replace(NEW.id::text, '-', '')",
                now="extract(epoch from clock_timestamp())",
            )
            body = f"$$ BEGIN {_INSERT} VALUES ({row}); RETURN NEW; END $$"
            trigger = f"CREATE TRIGGER chaos_{kind} AFTER UPDATE ON {table} FOR EACH ROW"
            statements += [
                f"CREATE FUNCTION chaos_{kind}() RETURNS trigger LANGUAGE plpgsql AS {body}",
                f"{trigger} WHEN ({condition}) EXECUTE FUNCTION chaos_{kind}()",
            ]
        else:
            row = row.format(id="NEW.id", now="(julianday('now') - 2440587.5) * 86400.0")
            statements.append(
                f"CREATE TRIGGER chaos_{kind} AFTER UPDATE ON {table} "
                f"WHEN {condition} BEGIN {_INSERT} VALUES ({row}); END"
            )
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@dataclass(frozen=True)
class Change:
    """One change of one row.

    Attributes:
        at: Seconds since 1970 by the database's clock, which is this machine's.
    """

    kind: str
    row: str
    before: str
    after: str
    attempt: int | None
    worker: str | None
    at: float

    @property
    def pid(self) -> int | None:
        """The process that had the step."""
        return int(self.worker.rpartition(":")[2]) if self.worker else None


def read(engine: Engine) -> list[Change]:
    """Return all changes in their order."""
    query = text(
        "SELECT kind, row_id, before, after, attempt, worker, at FROM chaos_audit ORDER BY number"
    )
    with engine.connect() as connection:
        return [Change(*row) for row in connection.execute(query)]


def recorded_twice(changes: Sequence[Change]) -> list[str]:
    """Return what was recorded more than once, or changed after its end, or may not happen."""
    found: list[str] = []
    ends: dict[str, int] = defaultdict(int)
    for change in changes:
        terminal: frozenset[str] = (
            TERMINAL_STEP_STATES if change.kind == "step" else TERMINAL_RUN_STATES
        )
        ends[change.row] += change.after in terminal
        if change.before in terminal:
            found.append(f"changed after its end: {change}")
        elif change.before == change.after or change.before not in _sources(change):
            found.append(f"not in the table of transitions: {change}")
    return found + [f"{row} ended {count} times" for row, count in ends.items() if count > 1]


def _sources(change: Change) -> frozenset[str]:
    if change.kind == "step":
        return step_sources(StepState(change.after))
    return run_sources(RunState(change.after))


def recoveries(changes: Sequence[Change], deaths: Mapping[int, float]) -> list[float]:
    """Return the seconds from the death of a process to the next attempt of each step it had."""
    by_step: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        if change.kind == "step" and change.after == StepState.RUNNING:
            by_step[change.row].append(change)
    return [
        later.at - deaths[pid]
        for claims in by_step.values()
        for first, later in pairwise(claims)
        if (pid := first.pid) is not None and deaths.get(pid, 0) > first.at - 0.5
    ]
