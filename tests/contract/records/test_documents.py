"""What every database does for stored documents: one suite, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import uuid_utils.compat as uuids
from sqlalchemy import text

from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import InvalidInput
from flowq.core.ids import RunId, batch_of_nodes, node_id
from flowq.core.spec import FlowSpec, StepSpec
from flowq.engine.model.documents import (
    Document,
    DocumentHead,
    DocumentKind,
    NewDocument,
    Visibility,
)
from flowq.engine.model.rows import NewRun, NewStep

PLAYBOOK = DocumentKind.PLAYBOOK


@pytest.fixture
def records(database_url: str) -> Iterator[SqlRecords]:
    records = SqlRecords(database_url)
    yield records
    records.close()


def register(
    records: SqlRecords, source: str, path: str = "shop/orders", **options: Any
) -> DocumentHead:
    seen_by = options.pop("seen_by", options.get("owner_id"))
    kind = options.pop("kind", PLAYBOOK)
    new = NewDocument(uuids.uuid7(), kind, path, source, {"text": source}, **options)
    return records.transaction(lambda tx: tx.documents.register(new, seen_by=seen_by))


def find(
    records: SqlRecords, version: int | None = None, *, seen_by: str | None = None
) -> Document | None:
    return records.autocommit(
        lambda tx: tx.documents.find(PLAYBOOK, "shop/orders", version, seen_by=seen_by)
    )


def bind(records: SqlRecords, alias: str, document: DocumentHead) -> None:
    records.transaction(lambda tx: tx.documents.bind(alias, document))


def bound_to(records: SqlRecords, alias: str) -> Document | None:
    return records.autocommit(lambda tx: tx.documents.bound(PLAYBOOK, alias, seen_by=None))


def test_each_new_text_is_a_version_and_the_same_text_is_the_same_one(records: SqlRecords) -> None:
    first = register(records, "one")
    again = register(records, "one")
    second = register(records, "two")
    back = register(records, "one")

    assert first == again
    assert [one.version for one in (first, second, back)] == [1, 2, 3]
    found, old = find(records), find(records, 1)
    assert found is not None
    assert old is not None
    assert (found.version, found.source, found.content) == (3, "one", {"text": "one"})
    assert old.id == first.id
    assert find(records, 4) is None


def test_versions_of_registrations_at_once_are_all_different(records: SqlRecords) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: register(records, f"text {n}"), range(24)))
        same = list(threads.map(lambda _: register(records, "the same"), range(8)))

    assert sorted(one.version for one in made) == list(range(1, 25))
    assert {one.version for one in same} == {25}


def test_kinds_have_versions_of_their_own(records: SqlRecords) -> None:
    register(records, "one")
    register(records, "two")

    assert register(records, "one", kind=DocumentKind.WORKFLOW).version == 1


def test_a_path_belongs_to_who_registered_it_first(records: SqlRecords) -> None:
    register(records, "one", owner_id="ann")

    with pytest.raises(InvalidInput, match="belongs to somebody else"):
        register(records, "two", owner_id="bob")
    operator = register(records, "two", owner_id="root", seen_by=None)

    assert (operator.version, operator.owner_id) == (2, "ann")


@pytest.mark.parametrize(
    "owner, visibility, seen_by, is_seen",
    [
        ("ann", Visibility.PRIVATE, "ann", True),
        ("ann", Visibility.PRIVATE, "bob", False),
        ("ann", Visibility.PRIVATE, None, True),
        ("ann", Visibility.PUBLIC, "bob", True),
        (None, Visibility.PRIVATE, "bob", True),
    ],
)
def test_who_sees_a_document(
    records: SqlRecords, owner: str | None, visibility: Visibility, seen_by: str, *, is_seen: bool
) -> None:
    made = register(records, "one", owner_id=owner, visibility=visibility)
    bind(records, "exec-1", made)

    def seen(tx: Any) -> list[bool]:
        rows = tx.documents
        at = (PLAYBOOK, made.path)
        return [
            rows.find(*at, seen_by=seen_by) is not None,
            rows.by_id(made.id, seen_by=seen_by) is not None,
            rows.bound(PLAYBOOK, "exec-1", seen_by=seen_by) is not None,
            rows.newest(PLAYBOOK, seen_by=seen_by) == [made],
            rows.versions(*at, seen_by=seen_by) == [made],
        ]

    assert records.autocommit(seen) == [is_seen] * 5


def test_lists_have_the_newest_of_each_path_and_all_versions_of_one(records: SqlRecords) -> None:
    for path in ("b", "a", "c"):
        register(records, "one", path)
    newest = register(records, "two", "a")

    def listed(tx: Any, **part: Any) -> list[tuple[str, int]]:
        return [(one.path, one.version) for one in tx.documents.newest(PLAYBOOK, **part)]

    assert records.autocommit(lambda tx: listed(tx, seen_by=None)) == [("a", 2), ("b", 1), ("c", 1)]
    assert records.autocommit(lambda tx: listed(tx, seen_by=None, after="a", limit=1)) == [("b", 1)]
    versions = records.autocommit(lambda tx: tx.documents.versions(PLAYBOOK, "a", seen_by=None))
    assert [one.version for one in versions] == [2, 1]
    assert versions[0] == newest


def test_an_alias_is_bound_once_and_a_version_may_have_many(records: SqlRecords) -> None:
    first, second = register(records, "one"), register(records, "two")
    for alias in ("exec-1", "exec-2", "exec-1"):
        bind(records, alias, first)

    with pytest.raises(InvalidInput, match="'exec-1' is bound to another"):
        bind(records, "exec-1", second)

    for alias in ("exec-1", "exec-2"):
        found = bound_to(records, alias)
        assert found is not None
        assert (found.id, found.source) == (first.id, "one")
    assert bound_to(records, "exec-3") is None


def test_of_an_alias_bound_at_once_one_document_gets_it(records: SqlRecords) -> None:
    made = [register(records, "one", f"path/{n}") for n in range(8)]

    def bound(document: DocumentHead) -> bool:
        try:
            bind(records, "exec-1", document)
        except InvalidInput:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(bound, made)) == 1


def test_a_deleted_document_is_hidden_and_its_versions_go_on(records: SqlRecords) -> None:
    first = register(records, "one", owner_id="ann")
    bind(records, "exec-1", first)

    def delete(seen_by: str | None) -> int:
        return records.transaction(
            lambda tx: tx.documents.delete(PLAYBOOK, first.path, seen_by=seen_by)
        )

    assert [delete("bob"), delete("ann"), delete("ann")] == [0, 1, 0]
    assert find(records) is None
    assert records.autocommit(lambda tx: tx.documents.newest(PLAYBOOK, seen_by=None)) == []
    known = records.autocommit(lambda tx: tx.documents.by_id(first.id, seen_by=None))
    assert known is not None
    assert register(records, "one", owner_id="ann").version == 2


def test_a_run_names_its_document_and_the_queue_shows_its_calls(records: SqlRecords) -> None:
    made = register(records, "one")
    run_id = RunId(uuids.uuid7())
    node = node_id(run_id, "start#t1.1")
    name = "flowq.tool.http"
    given = {"url": "http://localhost"}
    step = NewStep(node, "start#t1.1", name, 1, 0, given, batch_of_nodes(run_id, node))
    spec = FlowSpec(name="shop/orders", steps=(StepSpec(key=step.key, name=name),))
    run = NewRun(run_id, "shop/orders", spec, {}, (step,), document_id=made.id)
    records.transaction(lambda tx: tx.runs.insert([run], timedelta(seconds=5)))

    with records.engine.connect() as connection:
        shown = connection.execute(text("SELECT * FROM playbook_queue")).mappings().one()
        named = connection.execute(
            text("SELECT count(*) FROM flow_runs WHERE document_id IS NOT NULL")
        )
        assert named.scalar_one() == 1

    assert (shown["queue_id"], shown["execution_id"]) == (str(node), str(run_id))
    assert (shown["node_id"], shown["action"]) == ("start#t1.1", "http")
    assert (shown["status"], shown["attempt"], shown["assigned_worker_id"]) == ("pending", 0, None)
