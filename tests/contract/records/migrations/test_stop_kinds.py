"""Revision 0012 reads once more what older code said in texts alone, on both databases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import Connection, Uuid, bindparam, create_engine, text

from flowq.adapters.records.migrations import migrate, revisions
from flowq.core.ids import RunId, node_id

BEFORE: Final = "0011"
MOMENT: Final = "2026-11-01 00:00:00.000000"
#: Of a run that names no other.
MONTH: Final = "budget is spent: $2 of $2 of flow 'shop.pay' in this month; fake:m was not called"
USER: Final = 'budget is spent: 9 of 9 tokens of user "o\'hara" in this month; a:b was not called'
OWN: Final = "budget is spent: $2 of $2 of run {id}; fake:m was not called"
ORPHAN: Final = f"step 'pay' of run {uuids.uuid7()}, which waited for it, failed"
QUOTE: Final = "it's"
QUOTES: Final = """it's "a" \\ b"""
LONG: Final = "a' failed: b"

#: From a case to the columns of a run, the keys of its failed steps, and what is found.
RUNS: Final[Mapping[str, tuple[dict[str, Any], list[str], str | None, str | None]]] = {
    "completed": ({"status": "completed"}, [], None, None),
    "running": ({"status": "running"}, ["x"], None, None),
    "paused": ({"status": "paused", "error_message": "ann: wait"}, [], "user", None),
    "month": ({"status": "paused", "error_message": MONTH}, [], "budget_month", None),
    "user's month": ({"status": "paused", "error_message": USER}, [], "budget_month", None),
    "own": (
        {"status": "paused", "error_message": OWN, "budget_action": "pause"},
        [],
        "budget",
        None,
    ),
    "no budget of its own": ({"status": "paused", "error_message": OWN}, [], "user", None),
    "likewise": (
        {"status": "paused", "error_message": f"ann: the {MONTH}"},
        [],
        "user",
        None,
    ),
    "looks like it": (
        {"status": "paused", "error_message": "budget is spent: all in this month; no"},
        [],
        "user",
        None,
    ),
    "with its parent": (
        {
            "status": "paused",
            "error_message": f"with run {uuids.uuid7()}: {MONTH}",
            "parent_step_run_id": uuids.uuid7(),
        },
        [],
        "parent",
        None,
    ),
    "code": (
        {
            "status": "paused",
            "error_message": "program 'f' does something else than its record says: gone",
        },
        [],
        "changed_code",
        None,
    ),
    "newer": (
        {"status": "paused", "error_message": "the run cannot be read: kind 'x'; a newer…"},
        [],
        "unreadable",
        None,
    ),
    "failed": ({"status": "failed", "error_message": "step 'a' failed: no"}, ["a"], "failed", "a"),
    "failing": (
        {"status": "cancelling", "error_message": "step 'a' failed: 1 of 2\nitems"},
        ["b", "a"],
        "failed",
        "a",
    ),
    "quotes": (
        {"status": "failed", "error_message": f"step {QUOTE!r} failed: no"},
        [QUOTE, "it"],
        "failed",
        QUOTE,
    ),
    "both quotes": (
        {"status": "failed", "error_message": f"step {QUOTES!r} failed: no"},
        [QUOTES],
        "failed",
        QUOTES,
    ),
    "key in a key": (
        {"status": "failed", "error_message": f"step {LONG!r} failed: no"},
        ["a", LONG],
        "failed",
        LONG,
    ),
    "end of a key in a text": (
        {"status": "failed", "error_message": "step 'a' failed: b' failed: no"},
        ["a", LONG],
        "failed",
        "a",
    ),
    "wild cards": (
        {"status": "failed", "error_message": "step '%_' failed: 100 %"},
        ["ab", "%_"],
        "failed",
        "%_",
    ),
    "cancelled while it failed": (
        {"status": "cancelled", "error_message": "step 'a' failed: no", "cancel_requested_at": 1},
        ["a"],
        "failed",
        "a",
    ),
    "cancelled in those words": (
        {"status": "cancelled", "error_message": "step 'a' failed: no", "cancel_requested_at": 1},
        [],
        "user",
        None,
    ),
    "cancelled": (
        {"status": "cancelled", "error_message": "ann", "cancel_requested_at": 1},
        ["a"],
        "user",
        None,
    ),
    "orphan": (
        {"status": "cancelled", "error_message": ORPHAN, "cancel_requested_at": 1},
        ["pay"],
        "parent",
        None,
    ),
    "late": (
        {
            "status": "failed",
            "error_message": "deadline passed: it was 2026-11-01T00:00:00+00:00",
            "deadline": 1,
        },
        ["a"],
        "deadline",
        None,
    ),
    "output": (
        {"status": "failed", "error_message": "the output cannot be read: gone"},
        [],
        "output",
        None,
    ),
    "unreadable": (
        {"status": "failed", "error_message": "the run cannot be read: no spec"},
        [],
        "unreadable",
        None,
    ),
    "step is gone": ({"status": "failed", "error_message": "step 'a' failed"}, [], "failed", None),
}
#: From what a program says to the call that it means; there are calls `a`, `a failed` and `c`.
PROGRAMS: Final[Mapping[str, tuple[str, str, str | None]]] = {
    "call": ("StepFailed", "a#0 failed: ValueError: no", "a#0"),
    "call without a text": ("StepFailed", "a#0 failed", "a#0"),
    "longer call": ("StepFailed", "a#0 failed failed: ValueError: no", "a#0 failed"),
    "cancelled call": ("StepFailed", "a#0 was cancelled", None),
    "call that has completed": ("StepFailed", "c#0 failed: mine", None),
    "error of its own": ("ValueError", "a#0 failed: ValueError: no", None),
}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database at the revision before."""
    url = f"sqlite:///{tmp_path / 'flowq.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("empty_postgres_url")
    migrate.upgrade(url, BEFORE)
    return url


def insert(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    ids = [bindparam(name, type_=Uuid()) for name, value in row.items() if isinstance(value, UUID)]
    connection.execute(
        text(f"INSERT INTO {table} ({names}) VALUES ({values})").bindparams(*ids), row
    )


def a_run(connection: Connection, run_id: UUID, **values: Any) -> None:
    row = {"id": run_id, "flow_name": "f", "execution_mode": "async", "created_at": MOMENT}
    row |= {"step_progress": 0, "progress_percentage": 0, "total_tokens": 0, "total_cost": 0}
    row |= {"inputs": "{}", "spec": "{}", "priority": 0, **values}
    for name in ("cancel_requested_at", "deadline"):
        if row.get(name):
            row[name] = MOMENT
    insert(connection, "flow_runs", row)


def a_step(connection: Connection, run_id: UUID, key: str, order: int, **values: Any) -> UUID:
    row = {"id": node_id(RunId(run_id), key), "flow_run_id": run_id, "step_key": key}
    row |= {"step_name": key, "step_order": order, "status": "failed", "tokens_used": 0}
    row |= {"cost_estimate": 0, "created_at": MOMENT, "pending_dependencies": 0, "advanced": True}
    row |= {"attempt": 1, "recoveries": 0, "error_type": "E", "error_message": "no", **values}
    insert(connection, "flow_step_runs", row)
    return node_id(RunId(run_id), key)


def read(url: str, query: str, *ids: str) -> list[Any]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            columns = {name: Uuid() for name in ids}
            return list(connection.execute(text(query).columns(**columns)))
    finally:
        engine.dispose()


def test_kind_and_step_of_runs_are_read_from_what_was_said(url: str) -> None:
    expected = {}
    engine = create_engine(url)
    with engine.begin() as connection:
        for values, failed, kind, culprit in RUNS.values():
            run_id = uuids.uuid7()
            said = values.get("error_message")
            given = {**values, "error_message": said and said.replace("{id}", str(run_id))}
            a_run(connection, run_id, **given)
            for order, key in enumerate(failed):
                a_step(connection, run_id, key, order)
            a_step(connection, run_id, "good", 99, status="completed")
            expected[run_id] = (kind, culprit and node_id(RunId(run_id), culprit))
    engine.dispose()

    for _ in range(2):
        migrate.upgrade(url)
        query = "SELECT id, stop_kind, failed_step_id FROM flow_runs"
        found = {row[0]: (row[1], row[2]) for row in read(url, query, "id", "failed_step_id")}
        named = zip(RUNS, expected, strict=True)
        assert {name: found[run_id] for name, run_id in named} == dict(
            zip(RUNS, expected.values(), strict=True)
        )
        revisions.check(url)
        migrate.downgrade(url, BEFORE)
    texts = {row[0] for row in read(url, "SELECT error_message FROM flow_runs")}
    assert {MONTH, "ann", None} < texts


def test_calls_that_have_failed_programs_are_read_from_what_was_said(url: str) -> None:
    expected = {}
    engine = create_engine(url)
    with engine.begin() as connection:
        for name, (error_type, said, culprit) in PROGRAMS.items():
            run_id = uuids.uuid7()
            a_run(connection, run_id, status="failed", error_message=f"step 'f' failed: {said}")
            given = {"error_type": error_type, "error_message": said, "observed": 3}
            program = a_step(connection, run_id, "f", 1, **given)
            for order, key in enumerate(("a#0", "a#0 failed", "c#0"), start=2):
                state = "completed" if key == "c#0" else "failed"
                a_step(connection, run_id, key, order, status=state, spec='{"kind": "step"}')
            expected[name] = (program, culprit and node_id(RunId(run_id), culprit))
    engine.dispose()

    migrate.upgrade(url)

    query = "SELECT id, failed_step_id FROM flow_step_runs"
    found = dict(tuple(row) for row in read(url, query, "id", "failed_step_id"))
    assert {name: found[program] for name, (program, _) in expected.items()} == {
        name: call for name, (_, call) in expected.items()
    }
    assert sum(call is not None for call in found.values()) == 3


def test_kinds_of_actions_that_older_code_lacks_go_with_their_tables(url: str) -> None:
    run_id = uuids.uuid7()
    migrate.upgrade(url, "0020")
    engine = create_engine(url)
    with engine.begin() as connection:
        a_run(connection, run_id, status="running")
        for kind in ("start", "rerun", "pause"):
            action = {"id": uuids.uuid7(), "flow_run_id": run_id, "kind": kind, "face": "cli"}
            insert(connection, "flow_actions", {**action, "created_at": MOMENT})
    engine.dispose()

    migrate.downgrade(url, "0019")

    assert [("pause",)] == [tuple(row) for row in read(url, "SELECT kind FROM flow_actions")]
