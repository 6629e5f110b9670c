"""The catalogue of blueprints: stored documents, of which each change is a new row.

All versions of a blueprint have one path, its lineage; a version is read by its id, for good. What
the newest version says of visibility counts for all. Only its owner and admins change a blueprint,
and only its newest version: who changes an old one has not seen what has changed since.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from flowq.core.errors import FlowNotFound, InvalidInput
from flowq.engine.engine import Engine
from flowq.engine.model.documents import (
    Document,
    DocumentHead,
    DocumentKind,
    NewDocument,
    Viewer,
    Visibility,
)
from flowq.engine.ports import Transaction
from flowq.engine.registry.registry import registry
from flowq.engine.runs.options import text_of
from flowq.playbooks.blueprints.compiling import compiled
from flowq.playbooks.blueprints.models import Blueprint, check_size, read
from flowq.playbooks.blueprints.problems import BlueprintChanged, NotYours
from flowq.playbooks.document.models import Playbook

KIND: Final = DocumentKind.BLUEPRINT


@dataclass(frozen=True, slots=True)
class Terms:
    """What is stored beside a blueprint.

    Attributes:
        is_template: Whether it is listed to be cloned.
        visibility: Who may read it.
        team_id: The team that may, if that is so.
    """

    is_template: bool = False
    visibility: Visibility = Visibility.PRIVATE
    team_id: str | None = None


def create(engine: Engine, blueprint: Blueprint, viewer: Viewer, terms: Terms) -> Document:
    """Store a blueprint as version 1 of its own lineage.

    Raises:
        InvalidBlueprint: it has nodes, and cannot run.
        InvalidInput: it is visible to a team, and there is none.
    """
    return _create(engine, blueprint, viewer, terms)


def get(engine: Engine, document_id: UUID, viewer: Viewer) -> Document:
    """Return a version of a blueprint.

    Raises:
        FlowNotFound: there is none that the viewer may read; or it was deleted.
    """
    return engine.records.autocommit(lambda tx: _readable(tx, document_id, viewer)[0])


def update(
    engine: Engine, document_id: UUID, changes: Mapping[str, Any], viewer: Viewer
) -> Document:
    """Store the next version of a blueprint.

    Args:
        engine: Where it is stored.
        document_id: Its newest version.
        changes: What is different, by the names of `Blueprint` and `Terms`.
        viewer: Who changes it.

    Raises:
        FlowNotFound: there is none that the viewer may read.
        NotYours: the viewer may not change it.
        BlueprintChanged: there is a newer version.
        InvalidBlueprint: it has nodes, and cannot run.
    """
    old, newest = engine.records.autocommit(lambda tx: _readable(tx, document_id, viewer))
    _check_owner(newest, viewer)
    if newest.id != old.id:
        raise BlueprintChanged(newest.id)
    terms_changed = {name: changes[name] for name in Terms.__slots__ if name in changes}
    terms = replace(Terms(old.is_template, old.visibility, old.team_id), **terms_changed)
    data = {name: value for name, value in changes.items() if name not in terms_changed}
    new = _new(engine, read({**old.content, **data}), viewer, terms)
    new = replace(new, path=old.path, owner_id=old.owner_id, parent_id=old.parent_id)
    new = replace(new, labels={**new.labels, "lineage": old.path})

    def store(tx: Transaction) -> Document:
        if tx.documents.revise(new, over=old.version) is None:
            raise BlueprintChanged(_readable(tx, old.id, viewer)[1].id)
        return _stored(tx, new.id)

    return engine.records.transaction(store)


def delete(engine: Engine, document_id: UUID, viewer: Viewer) -> int:
    """Hide all versions of a blueprint; returns how many. Its instances stay.

    Raises:
        FlowNotFound: there is none that the viewer may read.
        NotYours: the viewer may not change it.
    """

    def hide(tx: Transaction) -> int:
        _, newest = _readable(tx, document_id, viewer)
        _check_owner(newest, viewer)
        return tx.documents.delete(KIND, newest.path, seen_by=None)

    return engine.records.transaction(hide)


def clone(
    engine: Engine, document_id: UUID, viewer: Viewer, changes: Mapping[str, Any] | None = None
) -> Document:
    """Store a copy of a blueprint, which belongs to the viewer; its name may be another one.

    Raises:
        FlowNotFound: there is none that the viewer may read.
    """
    source = get(engine, document_id, viewer)
    blueprint = read({**source.content, **(changes or {})})
    return _create(engine, blueprint, viewer, Terms(), parent_id=source.id)


def listed(
    engine: Engine,
    viewer: Viewer,
    *,
    is_template: bool | None = None,
    before: UUID | None = None,
    limit: int = 100,
) -> Sequence[DocumentHead]:
    """Return the newest version of each blueprint that the viewer may read, the latest first."""
    return engine.records.autocommit(
        lambda tx: tx.documents.readable(
            KIND, viewer, is_template=is_template, before=before, limit=limit
        )
    )


def versions(engine: Engine, document_id: UUID, viewer: Viewer) -> Sequence[DocumentHead]:
    """Return the versions of a blueprint, the newest first, 100 at most.

    Raises:
        FlowNotFound: there is none that the viewer may read.
    """

    def found(tx: Transaction) -> Sequence[DocumentHead]:
        path = _readable(tx, document_id, viewer)[0].path
        return tx.documents.versions(KIND, path, seen_by=None)

    return engine.records.autocommit(found)


def blueprint_of(document: DocumentHead) -> Blueprint:
    """Return the blueprint of a stored document, whose shape was checked when it was stored."""
    assert isinstance(document, Document)
    return Blueprint.model_validate(document.content)


def playbook_of(document: Document) -> Playbook:
    """Return the playbook of a stored blueprint.

    Raises:
        InvalidBlueprint: it is a draft; or a step type that it needs is not registered here.
    """
    return compiled(blueprint_of(document), registry.steps)


# --- within a transaction -------------------------------------------------------------------------


def _create(
    engine: Engine,
    blueprint: Blueprint,
    viewer: Viewer,
    terms: Terms,
    parent_id: UUID | None = None,
) -> Document:
    new = replace(_new(engine, blueprint, viewer, terms), parent_id=parent_id)

    def store(tx: Transaction) -> Document:
        tx.documents.register(new, seen_by=None)
        return _stored(tx, new.id)

    return engine.records.transaction(store)


def _new(engine: Engine, blueprint: Blueprint, viewer: Viewer, terms: Terms) -> NewDocument:
    """Return what is stored of a blueprint, after it was checked; its id is that of its lineage."""
    if terms.visibility is Visibility.TEAM and terms.team_id is None:
        if viewer.team_id is None:
            raise InvalidInput("a blueprint of a team needs one", hint="give team_id")
        terms = replace(terms, team_id=viewer.team_id)
    terms = replace(terms, team_id=text_of("team_id", terms.team_id))
    check_size(blueprint)
    if blueprint.nodes:
        compiled(blueprint, registry.steps)
    document_id, content = engine.new_id(), blueprint.plain()
    lineage = str(document_id)
    return NewDocument(
        document_id,
        KIND,
        lineage,
        json.dumps(content, ensure_ascii=False, sort_keys=True),
        content,
        owner_id=viewer.user_id,
        team_id=terms.team_id,
        visibility=terms.visibility,
        is_template=terms.is_template,
        labels={
            "lineage": lineage,
            "name": blueprint.name,
            "description": blueprint.description,
            "nodes": len(blueprint.nodes),
        },
    )


def _readable(tx: Transaction, document_id: UUID, viewer: Viewer) -> tuple[Document, DocumentHead]:
    """Return a version, and the newest one of its lineage."""
    found = tx.documents.by_id(document_id, seen_by=None)
    if found is not None and found.kind is KIND and found.deleted_at is None:
        newest = _newest(tx, found)
        if viewer.may_read(newest):
            return found, newest
    raise FlowNotFound(f"there is no blueprint {document_id}")


def _newest(tx: Transaction, document: DocumentHead) -> DocumentHead:
    found = tx.documents.versions(KIND, document.path, seen_by=None, limit=1)
    return found[0] if found else document


def _stored(tx: Transaction, document_id: UUID) -> Document:
    found = tx.documents.by_id(document_id, seen_by=None)
    assert found is not None  # this transaction has inserted it
    return found


def _check_owner(document: DocumentHead, viewer: Viewer) -> None:
    if not viewer.may_write(document):
        raise NotYours(
            "the blueprint belongs to somebody else", hint="clone it, and change the clone"
        )
