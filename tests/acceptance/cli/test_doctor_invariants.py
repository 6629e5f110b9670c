"""`flowq doctor --invariants` on a database that is well, and on one that is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import node_id
from tests.acceptance.commands import Shell
from tests.tools.playing import Played, Stage

ITEMS = 25


@step
def same(value: int) -> int:
    return value


@flow
def many(n: int) -> list[int]:
    return same.options(key="same").map(list(range(n)))


@pytest.fixture
def shell(tmp_path: Path, sqlite_url: str) -> Shell:
    return Shell(tmp_path, {"FLOWQ_DATABASE_URL": sqlite_url})


@pytest.fixture
def records(sqlite_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(sqlite_url)
    yield records
    records.close()


@pytest.fixture
def played(records: SqlRecords) -> Played:
    """A completed run; its results are objects, in a store that the command does not see."""
    return Stage.on(records, threshold=0).play(many, n=ITEMS)


@pytest.mark.usefixtures("played")
def test_each_invariant_is_named_with_ok_when_it_holds(shell: Shell) -> None:
    done = shell.flowq("doctor", "--invariants", "--grace", "0")

    assert (0, "") == (done.code, done.err)
    assert all(line.startswith("✓ ") for line in done.out.splitlines())
    assert "✓ lease           Exactly the steps that a worker runs have a lease.\n" in done.out


def test_rows_at_fault_are_printed_and_counted(
    shell: Shell, records: SqlRecords, played: Played
) -> None:
    with records.engine.begin() as connection:
        connection.execute(text("UPDATE flow_step_runs SET error_type = 'E'"))
        connection.execute(text("UPDATE flow_runs SET total_tokens = 3"))

    done = shell.flowq("doctor", "--invariants")
    document = shell.flowq("doctor", "--invariants", "--json")

    assert (1, "") == (done.code, done.err)
    node = f"    run {played.id}, step same ({node_id(played.id, 'same')}): it is completed, "
    assert f"{node}error_type is E, error_message is none\n" in done.out
    assert f"    and {ITEMS + 1 - 20} more\n" in done.out
    assert 2 == len([line for line in done.out.splitlines() if line.startswith("✗ ")])
    assert (1, False) == (document.code, document.json["ok"])
    broken = {one["name"]: one for one in document.json["invariants"] if not one["ok"]}
    assert {"step error", "run totals"} == broken.keys()
    assert (ITEMS + 1, 20) == (
        broken["step error"]["violations"],
        len(broken["step error"]["rows"]),
    )
    assert str(played.id) == broken["run totals"]["rows"][0]["run_id"]
    assert broken["run totals"]["rows"][0]["step_id"] is None


@pytest.mark.usefixtures("played")
def test_objects_are_looked_for_when_asked(shell: Shell) -> None:
    done = shell.flowq("doctor", "--invariants", "--objects", "--json")

    missing = done.json["invariants"][-1]
    assert (1, "objects", ITEMS) == (done.code, missing["name"], missing["violations"])
    assert 2 == shell.flowq("doctor", "--objects").code
