"""Stored blueprints: versions, clones, and who may read and change them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import FlowNotFound, InvalidInput
from flowq.engine.engine import Engine
from flowq.engine.model.documents import Document, Viewer, Visibility
from flowq.playbooks.blueprints import InvalidBlueprint, catalogue
from flowq.playbooks.blueprints.catalogue import Terms
from flowq.playbooks.blueprints.models import read
from flowq.playbooks.blueprints.problems import BlueprintChanged, NotYours
from tests.tools.playbooks.blueprints import data
from tests.tools.playing import Stage

ANN, BOB, EVE = Viewer("ann", "red"), Viewer("bob", "red"), Viewer("eve", "blue")
ROOT = Viewer("root", is_admin=True)


@pytest.fixture
def engine(database_url: str) -> Any:
    records = SqlRecords(database_url)
    yield Stage.on(records).engine
    records.close()


def create(engine: Engine, viewer: Viewer = ANN, name: str = "test", **terms: Any) -> Document:
    blueprint = read({**data("s>a a>e"), "name": name})
    return catalogue.create(engine, blueprint, viewer, Terms(**terms))


def names(engine: Engine, viewer: Viewer, **wanted: Any) -> list[tuple[str, int]]:
    found = catalogue.listed(engine, viewer, **wanted)
    return [(one.labels["name"], one.version) for one in found]


def test_a_change_is_a_new_version_and_the_old_one_stays(engine: Engine) -> None:
    first = create(engine)
    second = catalogue.update(engine, first.id, {"description": "better"}, ANN)
    third = catalogue.update(engine, second.id, {"is_template": True}, ANN)

    assert [(one.version, one.path) for one in (first, second, third)] == [
        (number, first.path) for number in (1, 2, 3)
    ]
    assert len({first.id, second.id, third.id}) == 3
    old = catalogue.get(engine, first.id, ANN)
    assert catalogue.blueprint_of(old).description == ""
    assert catalogue.blueprint_of(third).description == "better"
    assert catalogue.blueprint_of(third).nodes == catalogue.blueprint_of(first).nodes
    assert (old.is_template, third.is_template) == (False, True)
    assert names(engine, ANN) == [("test", 3)]
    assert [one.version for one in catalogue.versions(engine, first.id, ANN)] == [3, 2, 1]


def test_a_change_of_an_old_version_names_the_newest(engine: Engine) -> None:
    first = create(engine)
    second = catalogue.update(engine, first.id, {"name": "b"}, ANN)

    with pytest.raises(BlueprintChanged) as refused:
        catalogue.update(engine, first.id, {"name": "c"}, ANN)
    assert refused.value.newest == second.id


def in_between(engine: Engine, act: Callable[[], object]) -> None:
    """Do something before the next transaction: after a change has read what it changes."""
    other = engine.records.transaction

    def first(work: Any) -> Any:
        engine.records.transaction = other  # type: ignore[method-assign]
        act()
        return other(work)

    engine.records.transaction = first  # type: ignore[method-assign]


def test_of_two_changes_at_once_one_is_refused(engine: Engine) -> None:
    first = create(engine)
    in_between(engine, lambda: catalogue.update(engine, first.id, {"name": "won"}, ANN))

    with pytest.raises(BlueprintChanged):
        catalogue.update(engine, first.id, {"name": "lost"}, ANN)
    assert names(engine, ANN) == [("won", 2)]


def test_a_change_does_not_bring_back_what_was_deleted(engine: Engine) -> None:
    first = create(engine)
    in_between(engine, lambda: catalogue.delete(engine, first.id, ANN))

    with pytest.raises(FlowNotFound):
        catalogue.update(engine, first.id, {"name": "late"}, ANN)
    assert names(engine, ANN) == []


def test_changes_and_deletes_at_once_leave_nothing_half_deleted(engine: Engine) -> None:
    """Each either comes before the delete, and is deleted with the others, or is refused."""
    for _ in range(5):
        first = create(engine)

        def change(number: int, first: Document = first) -> None:
            with suppress(BlueprintChanged, FlowNotFound):
                if number == 2:
                    catalogue.delete(engine, first.id, ANN)
                else:
                    catalogue.update(engine, first.id, {"name": f"n{number}"}, ANN)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(change, range(4)))
        assert names(engine, ANN) == []


def test_a_clone_belongs_to_who_made_it(engine: Engine) -> None:
    template = create(engine, visibility=Visibility.PUBLIC, is_template=True)

    made = catalogue.clone(engine, template.id, EVE, {"name": "mine"})

    assert (made.version, made.is_template, made.parent_id) == (1, False, template.id)
    assert (made.owner_id, made.visibility) == ("eve", Visibility.PRIVATE)
    assert made.path != template.path
    assert catalogue.blueprint_of(made).nodes == catalogue.blueprint_of(template).nodes
    assert names(engine, EVE) == [("mine", 1), ("test", 1)]
    assert names(engine, EVE, is_template=True) == [("test", 1)]
    assert names(engine, EVE, is_template=False) == [("mine", 1)]
    changed = catalogue.update(engine, made.id, {"name": "still mine"}, EVE)
    assert changed.parent_id == template.id


def test_what_was_deleted_is_gone_with_all_versions(engine: Engine) -> None:
    first = create(engine)
    second = catalogue.update(engine, first.id, {"name": "b"}, ANN)

    assert catalogue.delete(engine, first.id, ANN) == 2
    for one in (first.id, second.id):
        for use in (catalogue.get, catalogue.delete, catalogue.clone, catalogue.versions):
            with pytest.raises(FlowNotFound):
                use(engine, one, ANN)
    assert names(engine, ANN) == []


@pytest.mark.parametrize(
    "visibility, readers",
    [
        (Visibility.PRIVATE, {"ann", "root"}),
        (Visibility.TEAM, {"ann", "bob", "root"}),
        (Visibility.PUBLIC, {"ann", "bob", "eve", "root"}),
    ],
)
def test_who_reads_and_who_changes(
    engine: Engine, visibility: Visibility, readers: set[str]
) -> None:
    made = create(engine, visibility=visibility)

    for viewer in (ANN, BOB, EVE, ROOT):
        is_reader = viewer.user_id in readers
        assert names(engine, viewer) == ([("test", 1)] if is_reader else [])
        if is_reader:
            assert catalogue.get(engine, made.id, viewer) == made
    for viewer in (BOB, EVE):
        expected = NotYours if viewer.user_id in readers else FlowNotFound
        for change in (
            lambda viewer=viewer: catalogue.update(engine, made.id, {"name": "x"}, viewer),
            lambda viewer=viewer: catalogue.delete(engine, made.id, viewer),
        ):
            with pytest.raises(expected):
                change()
    by_root = catalogue.update(engine, made.id, {"name": "by root"}, ROOT)
    assert (by_root.owner_id, by_root.version) == ("ann", 2)
    assert catalogue.delete(engine, by_root.id, ANN) == 2


def test_old_versions_are_as_private_as_the_newest(engine: Engine) -> None:
    public = create(engine, visibility=Visibility.PUBLIC)
    catalogue.update(engine, public.id, {"visibility": Visibility.PRIVATE}, ANN)

    with pytest.raises(FlowNotFound):
        catalogue.get(engine, public.id, EVE)


def test_a_blueprint_of_a_team_needs_one(engine: Engine) -> None:
    assert create(engine, visibility=Visibility.TEAM).team_id == "red"
    with pytest.raises(InvalidInput, match="of a team needs one"):
        create(engine, Viewer("zoe"), visibility=Visibility.TEAM)


def test_what_cannot_run_is_not_stored_and_a_draft_is(engine: Engine) -> None:
    with pytest.raises(InvalidBlueprint, match="is a cycle"):
        catalogue.create(engine, read(data("s>a a>b b>a")), ANN, Terms())
    draft = catalogue.create(engine, read({"name": "draft"}), ANN, Terms(is_template=True))

    with pytest.raises(InvalidBlueprint, match="a node of the type 'start'"):
        catalogue.playbook_of(draft)
    with pytest.raises(InvalidBlueprint, match="is a cycle"):
        catalogue.update(
            engine,
            draft.id,
            {"nodes": data("s>a a>b b>a")["nodes"], "edges": data("s>a a>b b>a")["edges"]},
            ANN,
        )
    assert names(engine, ANN) == [("draft", 1)]


def test_lists_are_read_in_parts(engine: Engine) -> None:
    made = [create(engine, name=f"n{number}") for number in range(5)]
    changed = catalogue.update(engine, made[1].id, {"name": "n1 again"}, ANN)

    assert [name for name, _ in names(engine, ANN)] == ["n1 again", "n4", "n3", "n2", "n0"]
    assert names(engine, ANN, before=changed.id, limit=2) == [("n4", 1), ("n3", 1)]


@pytest.mark.parametrize("unknown", [UUID(int=0), uuid4()])
def test_what_does_not_exist_is_said(engine: Engine, unknown: UUID) -> None:
    with pytest.raises(FlowNotFound, match=f"there is no blueprint {unknown}"):
        catalogue.get(engine, unknown, ROOT)
