"""Runs of stored documents, and what they have used: on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import update

from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.queries import lists
from flowq.adapters.records.sql.tables import FlowRun
from flowq.core.ids import RunId, earliest_id
from flowq.core.spec import FlowSpec
from flowq.core.states import RunState
from flowq.engine.model.documents import DocumentKind, NewDocument
from flowq.engine.model.rows import NewRun
from flowq.engine.queries.instances import DocumentRun
from flowq.engine.queries.lists import Cursor, RunFilter

BLUEPRINT, PLAYBOOK = DocumentKind.BLUEPRINT, DocumentKind.PLAYBOOK
NOW = datetime.now(UTC)


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def document(
    records: SqlRecords, path: str, text: str = "one", kind: DocumentKind = BLUEPRINT
) -> UUID:
    new = NewDocument(uuids.uuid7(), kind, path, text, {}, labels={"name": path})
    return records.transaction(lambda tx: tx.documents.register(new, seen_by=None)).id


def run(records: SqlRecords, document_id: UUID | None, **row: Any) -> RunId:
    at = row.pop("at", None)
    run_id = RunId(uuids.uuid7() if at is None else UUID(int=earliest_id(at).int | 7 << 76))
    user, metadata = row.pop("user_id", "ann"), row.pop("metadata", {})
    spec = FlowSpec(name="blueprints/b", steps=())
    new = NewRun(
        run_id, spec.name, spec, {}, (), user_id=user, metadata=metadata, document_id=document_id
    )
    assert records.transaction(lambda tx: tx.runs.insert([new], timedelta(minutes=1)))
    values = {"status": "completed", **row}
    where = FlowRun.id == run_id
    records.transaction(lambda tx: tx.within.execute(update(FlowRun).where(where).values(**values)))
    return run_id


def listed(records: SqlRecords, at: Cursor | None = None, limit: int = 50, **wanted: Any) -> Any:
    given = RunFilter(document_kind=BLUEPRINT, **wanted)
    page = records.autocommit(lambda tx: tx.overview.runs_page(given, at=at, limit=limit))
    return [one.id for one in page.runs]


@pytest.mark.parametrize("most", [0, 200])
def test_runs_of_a_kind_or_of_all_versions_of_one_document(
    records: SqlRecords, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a document that has more versions than are asked for one by one."""
    monkeypatch.setattr(lists, "_MAX_VERSIONS", most)
    first, second = document(records, "a"), document(records, "a", "two")
    other, playbook = document(records, "b"), document(records, "a", kind=PLAYBOOK)
    given = [first, second, None, other, playbook, first, second]
    made = [run(records, one, user_id="bob" if at == 5 else "ann") for at, one in enumerate(given)]
    of_a = [made[6], made[5], made[1], made[0]]

    assert listed(records) == [made[6], made[5], made[3], made[1], made[0]]
    assert listed(records, document_path="a") == of_a
    assert listed(records, document_path="a", limit=2) == of_a[:2]
    assert listed(records, Cursor(made[5]), document_path="a") == of_a[2:]
    newer = Cursor(made[1], is_after=True)
    assert listed(records, newer, document_path="a", limit=1) == [made[5]]
    assert listed(records, document_path="a", user_id="bob") == [made[5]]
    assert listed(records, document_path="a", states=frozenset({RunState.FAILED})) == []
    assert listed(records, document_path="nowhere") == []


def test_what_a_run_was_started_from(records: SqlRecords) -> None:
    document(records, "a")
    second = document(records, "a", "two")
    made = run(records, second, metadata={"conversation_id": "talk-1"})
    other = run(records, document(records, "a", kind=PLAYBOOK))

    def found(tx: Any) -> list[DocumentRun | None]:
        read = tx.overview
        return [read.document_run(made, BLUEPRINT), read.document_run(other, BLUEPRINT)]

    of_made, of_other = records.autocommit(found)
    labels, metadata = {"name": "a"}, {"conversation_id": "talk-1"}
    assert of_made == DocumentRun(second, "a", 2, labels, metadata)
    assert of_other is None
    known = records.autocommit(lambda tx: tx.overview.document_versions([second]))
    assert known == {second: DocumentRun(second, "a", 2, labels)}
    assert records.autocommit(lambda tx: tx.overview.document_versions([])) == {}


def test_what_runs_of_documents_have_used(records: SqlRecords) -> None:
    first, second = document(records, "a"), document(records, "a", "two")
    other = document(records, "b")
    used = {"total_tokens": 10, "total_cost": Decimal("0.25"), "execution_time_ms": 100}
    run(records, first, **used)
    run(records, second, status="failed", **used)
    run(records, second, user_id="bob", status="running")
    run(records, other, **used)
    run(records, other, at=NOW - timedelta(days=40), **used)
    run(records, None, **used)

    def summed(**wanted: Any) -> Any:
        since = NOW - timedelta(days=30)
        return records.autocommit(
            lambda tx: tx.overview.document_usage(BLUEPRINT, since=since, **wanted)
        )

    of_a, of_b = summed()
    assert (of_a.path, of_a.newest, of_b.path, of_b.newest) == ("a", second, "b", other)
    assert of_a.states == {RunState.COMPLETED: 1, RunState.FAILED: 1, RunState.RUNNING: 1}
    assert (of_a.tokens, of_a.cost, of_a.execution_time_ms, of_a.timed) == (
        20,
        Decimal("0.5"),
        200,
        2,
    )
    assert (of_b.states, of_b.tokens) == ({RunState.COMPLETED: 1}, 10)
    assert summed(path="b") == [of_b]
    [bobs] = summed(user_id="bob")
    assert (bobs.states, bobs.newest) == ({RunState.RUNNING: 1}, second)
    assert summed(path="nowhere") == []
