"""Stored documents of all kinds, by path and version."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from flowq.engine.model.documents import (
    Document,
    DocumentHead,
    DocumentKind,
    NewDocument,
    Viewer,
)


class Documents(Protocol):
    """The rows of `flow_documents`, within one transaction.

    `seen_by` is the user who asks; None is the operator, who may see and change all. A user sees
    documents of their own, public ones, and those without an owner.
    """

    def register(self, new: NewDocument, *, seen_by: str | None) -> DocumentHead:
        """Store a document as the next version of its path.

        Returns:
            The new version; the newest one, if that has the same text.

        Raises:
            InvalidInput: the path belongs to somebody else.
        """

    def revise(self, new: NewDocument, *, over: int) -> DocumentHead | None:
        """Store the version after `over` of its path; None if there is one, or it was deleted.

        Its owner is that of `new`: the caller has checked who may change the document.
        """

    def find(
        self, kind: DocumentKind, path: str, version: int | None = None, *, seen_by: str | None
    ) -> Document | None:
        """A version of a document; the newest one without `version`."""

    def by_id(self, document_id: UUID, *, seen_by: str | None) -> Document | None:
        """A version of a document by its id, deleted or not: runs name it."""

    def newest(
        self, kind: DocumentKind, *, seen_by: str | None, after: str = "", limit: int = 100
    ) -> Sequence[DocumentHead]:
        """The newest version of each path greater than `after`, by path."""

    def readable(
        self,
        kind: DocumentKind,
        viewer: Viewer,
        *,
        is_template: bool | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> Sequence[DocumentHead]:
        """The newest version of each document that a viewer may read, the latest change first.

        Args:
            kind: Its kind.
            viewer: Who asks.
            is_template: Only templates, or only others; None for both.
            before: Only those with ids before this one.
            limit: How many at most.
        """

    def versions(
        self, kind: DocumentKind, path: str, *, seen_by: str | None, limit: int = 100
    ) -> Sequence[DocumentHead]:
        """The versions of a document, the newest first."""

    def bind(self, alias: str, document: DocumentHead) -> None:
        """Bind an alias to a version; again to the same version changes nothing.

        Raises:
            InvalidInput: it is bound to another version, or another document.
        """

    def bound(self, kind: DocumentKind, alias: str, *, seen_by: str | None) -> Document | None:
        """The version that an alias is bound to."""

    def delete(self, kind: DocumentKind, path: str, *, seen_by: str | None) -> int:
        """Hide all versions of a document that the user owns; returns how many.

        The rows stay, since runs name them; the path goes on with the next version.
        """
