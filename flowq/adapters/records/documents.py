"""Stored documents.

A version is inserted with `ON CONFLICT DO NOTHING`: of two registrations at once the second waits
for the end of the first one's transaction, finds its version taken, and looks again. So versions
are 1, 2, 3, … without a lock.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, true, update
from typing_extensions import override

from flowq.adapters.records.sql.repository import ALIASES, DOCUMENTS, Repository, by_dialect
from flowq.adapters.records.sql.types import DbNow
from flowq.core.errors import InvalidInput
from flowq.engine.model.documents import (
    Document,
    DocumentHead,
    DocumentKind,
    NewDocument,
    Viewer,
    Visibility,
)
from flowq.engine.ports.documents import Documents

_D, _A = DOCUMENTS.c, ALIASES.c
_HEAD: Final = (
    _D.id,
    _D.kind,
    _D.path,
    _D.version,
    _D.sha256,
    _D.owner_id,
    _D.visibility,
    _D.labels,
    _D.created_at,
    _D.team_id,
    _D.parent_id,
    _D.is_template,
    _D.deleted_at,
)
_WHOLE: Final = (*_HEAD, _D.source, _D.content)
_INSERT: Final = by_dialect(
    DOCUMENTS,
    lambda new: new.values(created_at=DbNow()).on_conflict_do_nothing().returning(*_HEAD),
)
_BIND: Final = by_dialect(
    ALIASES, lambda new: new.values(created_at=DbNow()).on_conflict_do_nothing()
)


class SqlDocuments(Repository, Documents):
    """Implements `flowq.engine.ports.Documents`."""

    @override
    def register(self, new: NewDocument, *, seen_by: str | None) -> DocumentHead:
        insert = _INSERT[self._connection.dialect.name]
        while True:  # each turn but the last, somebody else has registered a version
            last = self._last(new)
            version, owner = 0, new.owner_id
            if last is not None:
                _check_owner(last, seen_by)
                if last.sha256 == new.sha256 and last.deleted_at is None:
                    return _head(last)
                version, owner = last.version, last.owner_id
            row = self._run(insert, _row(new, version + 1, owner)).first()
            if row is not None:
                return _head(row)

    @override
    def revise(self, new: NewDocument, *, over: int) -> DocumentHead | None:
        old = select(_D.deleted_at).where(_at(new.kind, new.path), _D.version == over)
        known = self._run(old.with_for_update()).first()  # a delete at once waits for this
        if known is None or known.deleted_at is not None:
            return None
        insert = _INSERT[self._connection.dialect.name]
        row = self._run(insert, _row(new, over + 1, new.owner_id)).first()
        return None if row is None else _head(row)

    @override
    def find(
        self, kind: DocumentKind, path: str, version: int | None = None, *, seen_by: str | None
    ) -> Document | None:
        query = select(*_WHOLE).where(_at(kind, path), _seen(seen_by), _D.deleted_at.is_(None))
        if version is not None:
            query = query.where(_D.version == version)
        return self._one(query.order_by(_D.version.desc()).limit(1))

    @override
    def by_id(self, document_id: UUID, *, seen_by: str | None) -> Document | None:
        return self._one(select(*_WHOLE).where(_D.id == document_id, _seen(seen_by)))

    @override
    def newest(
        self, kind: DocumentKind, *, seen_by: str | None, after: str = "", limit: int = 100
    ) -> Sequence[DocumentHead]:
        newest = (
            select(_D.path, func.max(_D.version).label("version"))
            .where(_D.kind == kind, _D.path > after, _seen(seen_by), _D.deleted_at.is_(None))
            .group_by(_D.path)
            .order_by(_D.path)
            .limit(limit)
            .subquery()
        )
        same = and_(_D.path == newest.c.path, _D.version == newest.c.version)
        query = select(*_HEAD).join(newest, same).where(_D.kind == kind).order_by(_D.path)
        return [_head(row) for row in self._run(query)]

    @override
    def readable(
        self,
        kind: DocumentKind,
        viewer: Viewer,
        *,
        is_template: bool | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> Sequence[DocumentHead]:
        later = DOCUMENTS.alias("later").c
        is_newest = ~exists().where(
            later.kind == kind, later.path == _D.path, later.version > _D.version
        )
        query = select(*_HEAD).where(_D.kind == kind, _D.deleted_at.is_(None), is_newest)
        if not viewer.is_admin:
            query = query.where(_readable(viewer))
        if is_template is not None:
            query = query.where(_D.is_template == is_template)
        if before is not None:
            query = query.where(_D.id < before)
        return [_head(row) for row in self._run(query.order_by(_D.id.desc()).limit(limit))]

    @override
    def versions(
        self, kind: DocumentKind, path: str, *, seen_by: str | None, limit: int = 100
    ) -> Sequence[DocumentHead]:
        query = select(*_HEAD).where(_at(kind, path), _seen(seen_by), _D.deleted_at.is_(None))
        return [_head(row) for row in self._run(query.order_by(_D.version.desc()).limit(limit))]

    @override
    def bind(self, alias: str, document: DocumentHead) -> None:
        given = {"kind": document.kind, "alias": alias, "document_id": document.id}
        self._run(_BIND[self._connection.dialect.name], given)
        theirs = select(_A.document_id).where(_A.kind == document.kind, _A.alias == alias)
        if self._run(theirs).scalar_one() != document.id:
            raise InvalidInput(
                f"{alias!r} is bound to another version or document",
                hint="an id is bound once: use a new one",
            )

    @override
    def bound(self, kind: DocumentKind, alias: str, *, seen_by: str | None) -> Document | None:
        query = select(*_WHOLE).join(ALIASES, _A.document_id == _D.id)
        return self._one(query.where(_A.kind == kind, _A.alias == alias, _seen(seen_by)))

    @override
    def delete(self, kind: DocumentKind, path: str, *, seen_by: str | None) -> int:
        owned = true() if seen_by is None else _D.owner_id == seen_by
        hidden = update(DOCUMENTS).where(_at(kind, path), owned, _D.deleted_at.is_(None))
        count = 0
        # A version that was stored while this waited is seen by the next statement.
        while found := self._run(hidden.values(deleted_at=DbNow())).rowcount:
            count += found
        return count

    def _last(self, new: NewDocument) -> Any:
        query = select(*_HEAD).where(_at(new.kind, new.path))
        return self._run(query.order_by(_D.version.desc()).limit(1)).first()

    def _one(self, query: Select[Any]) -> Document | None:
        row = self._run(query).first()
        if row is None:
            return None
        return Document(**_values(row), source=row.source, content=row.content)


def _at(kind: DocumentKind, path: str) -> ColumnElement[bool]:
    return and_(_D.kind == kind, _D.path == path)


def _seen(seen_by: str | None) -> ColumnElement[bool]:
    """Return whether a user may see a document."""
    if seen_by is None:
        return true()
    return or_(_D.owner_id == seen_by, _D.owner_id.is_(None), _D.visibility == Visibility.PUBLIC)


def _readable(viewer: Viewer) -> ColumnElement[bool]:
    """Return what `Viewer.may_read` says, as a condition."""
    is_seen = _seen(viewer.user_id)
    if viewer.team_id is None:
        return is_seen
    return or_(is_seen, and_(_D.visibility == Visibility.TEAM, _D.team_id == viewer.team_id))


def _check_owner(last: Any, seen_by: str | None) -> None:
    if seen_by is not None and last.owner_id != seen_by:
        raise InvalidInput(
            f"the path {last.path!r} belongs to somebody else",
            hint="register the document under another path",
        )


def _row(new: NewDocument, version: int, owner: str | None) -> dict[str, Any]:
    return {
        "id": new.id,
        "kind": new.kind,
        "path": new.path,
        "version": version,
        "source": new.source,
        "content": dict(new.content),
        "sha256": new.sha256,
        "parent_id": new.parent_id,
        "is_template": new.is_template,
        "owner_id": owner,
        "team_id": new.team_id,
        "visibility": new.visibility,
        "labels": dict(new.labels),
    }


def _head(row: Any) -> DocumentHead:
    return DocumentHead(**_values(row))


def _values(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": DocumentKind(row.kind),
        "path": row.path,
        "version": row.version,
        "sha256": row.sha256,
        "owner_id": row.owner_id,
        "visibility": Visibility(row.visibility),
        "labels": row.labels,
        "created_at": row.created_at,
        "team_id": row.team_id,
        "parent_id": row.parent_id,
        "is_template": row.is_template,
        "deleted_at": row.deleted_at,
    }
