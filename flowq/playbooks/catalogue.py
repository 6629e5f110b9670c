"""The catalogue of playbooks: stored documents, by path and version.

A version keeps the text as it was sent and the plain form that is checked. A user sees documents of
their own and those of the operator; `seen_by=None` is the operator, who sees all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flowq.core.errors import FlowNotFound
from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.model.documents import Document, DocumentHead, DocumentKind, NewDocument
from flowq.engine.ports import Transaction
from flowq.engine.runs.options import text_of
from flowq.playbooks.document.models import Playbook
from flowq.playbooks.document.problems import Problem
from flowq.playbooks.parser import load

_KIND: Final = DocumentKind.PLAYBOOK


@dataclass(frozen=True, slots=True)
class Registered:
    """A playbook that was stored."""

    name: str
    head: DocumentHead
    warnings: tuple[Problem, ...]


def register(
    engine: Engine,
    source: str,
    *,
    seen_by: str | None,
    owner: str | None = None,
    compat: bool = False,
    execution_id: str | None = None,
    file: str = "playbook.yaml",
) -> Registered:
    """Store a playbook as the next version of its path; the same text is the same version.

    Args:
        engine: Where it is stored.
        source: YAML or JSON.
        seen_by: Who asks.
        owner: Whose the path is, if it is new; None for the operator's.
        compat: Accept what other engines accept.
        execution_id: An id that an execution will have; it runs this version.
        file: Its name in messages.

    Raises:
        InvalidPlaybook: the document is wrong.
        InvalidInput: the path is somebody else's, or the execution id is bound to another version.
    """
    alias = text_of("execution_id", execution_id)
    done = load(source, compat=compat, name=file)
    playbook = done.playbook
    path = text_of("metadata.path", playbook.metadata.path)
    assert path is not None
    new = NewDocument(engine.new_id(), _KIND, path, source, playbook.to_dict(), owner_id=owner)

    def store(tx: Transaction) -> DocumentHead:
        head = tx.documents.register(new, seen_by=seen_by)
        if alias is not None:
            tx.documents.bind(alias, head)
        return head

    head = engine.records.transaction(store)
    return Registered(playbook.metadata.name, head, done.warnings)


def newest(
    engine: Engine, *, seen_by: str | None, after: str = "", limit: int = 100
) -> Sequence[DocumentHead]:
    """Return the newest version of each playbook with a path greater than `after`, by path."""
    return engine.records.autocommit(
        lambda tx: tx.documents.newest(_KIND, seen_by=seen_by, after=after, limit=limit)
    )


def versions(engine: Engine, path: str, *, seen_by: str | None) -> Sequence[DocumentHead]:
    """Return the versions of a playbook, the newest first, 100 at most."""
    return engine.records.autocommit(lambda tx: tx.documents.versions(_KIND, path, seen_by=seen_by))


def get(engine: Engine, path: str, version: int | None = None, *, seen_by: str | None) -> Document:
    """Return a version of a playbook; the newest one without `version`.

    Raises:
        FlowNotFound: there is none that the user may see.
    """
    found = engine.records.autocommit(
        lambda tx: tx.documents.find(_KIND, path, version, seen_by=seen_by)
    )
    if found is None:
        name = path if version is None else f"{path}@{version}"
        raise FlowNotFound(
            f"there is no playbook {name}",
            hint="see those that are registered: flowq playbook ls",
        )
    return found


def by_id(engine: Engine, document_id: UUID, *, seen_by: str | None) -> Document:
    """Return a version of a playbook by the id of its document.

    Raises:
        FlowNotFound: there is none that the user may see.
    """

    def find(tx: Transaction) -> Document | None:
        known = tx.documents.by_id(document_id, seen_by=seen_by)
        # The row of a deleted document stays, for the runs that name it.
        return known and tx.documents.find(_KIND, known.path, known.version, seen_by=seen_by)

    found = engine.records.autocommit(find)
    if found is None or found.id != document_id:
        raise FlowNotFound(
            f"there is no playbook with the id {document_id}",
            hint="see those that are registered: flowq playbook ls --json",
        )
    return found


def bound(engine: Engine, execution_id: str, *, seen_by: str | None) -> Document | None:
    """Return the version that an execution id was bound to when it was registered."""
    return engine.records.autocommit(
        lambda tx: tx.documents.bound(_KIND, execution_id, seen_by=seen_by)
    )


def execution(engine: Engine, execution_id: str, *, seen_by: str | None) -> RunId | None:
    """Return the run of an execution id that is bound to a document."""
    document = bound(engine, execution_id, seen_by=seen_by)
    if document is None:
        return None
    found = engine.records.autocommit(lambda tx: tx.runs.with_keys(document.path, [execution_id]))
    return found[execution_id][0] if execution_id in found else None


def bind(engine: Engine, execution_id: str, document: DocumentHead) -> None:
    """Bind an execution id to a version.

    Raises:
        InvalidInput: it is bound to another version, or another playbook.
    """
    engine.records.transaction(lambda tx: tx.documents.bind(execution_id, document))


def playbook_of(document: Document) -> Playbook:
    """Return the playbook of a stored document, which was checked when it was stored."""
    return Playbook.of(document.content)
