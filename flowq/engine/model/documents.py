"""Stored documents: the values that cross the port.

A document is registered under a path, and each change of its text is a new version. The path
belongs to the owner of its first version; one without an owner is the operator's, and all may use
it. An alias is a name that is bound to one version in advance, such as the id of an execution.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import UUID


class DocumentKind(StrEnum):
    """What a stored document is."""

    PLAYBOOK = "playbook"
    WORKFLOW = "workflow"
    BLUEPRINT = "blueprint"


class Visibility(StrEnum):
    """Who may use a document that has an owner."""

    PRIVATE = "private"  #: Its owner.
    TEAM = "team"  #: The team that it names, too.
    PUBLIC = "public"  #: Everybody.


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to be registered; it becomes the next version of its path."""

    id: UUID
    kind: DocumentKind
    path: str
    source: str  #: The text as it was sent.
    content: Mapping[str, Any]  #: The same as JSON data.
    owner_id: str | None = None
    team_id: str | None = None
    visibility: Visibility = Visibility.PRIVATE
    labels: Mapping[str, Any] = field(default_factory=dict)
    parent_id: UUID | None = None  #: The document that it was made from.
    is_template: bool = False

    @property
    def sha256(self) -> str:
        """The digest of the text, in hex."""
        return sha256(self.source.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class DocumentHead:
    """A version of a document without its text, as lists show it."""

    id: UUID
    kind: DocumentKind
    path: str
    version: int
    sha256: str
    owner_id: str | None
    visibility: Visibility
    labels: Mapping[str, Any]
    created_at: datetime
    team_id: str | None = None
    parent_id: UUID | None = None  #: The document that it was made from.
    is_template: bool = False
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Document(DocumentHead):
    """A version of a document."""

    source: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks for a document.

    Attributes:
        user_id: The user; None for the operator.
        team_id: The team for which they ask.
        is_admin: Whether they may see and change all.
    """

    user_id: str | None
    team_id: str | None = None
    is_admin: bool = False

    def may_read(self, document: DocumentHead) -> bool:
        """Return whether they may see a document, by its newest version."""
        is_public = document.owner_id is None or document.visibility is Visibility.PUBLIC
        is_of_team = document.visibility is Visibility.TEAM and document.team_id is not None
        return (
            self.may_write(document)
            or is_public
            or (is_of_team and document.team_id == self.team_id)
        )

    def may_write(self, document: DocumentHead) -> bool:
        """Return whether they may change it."""
        is_owner = self.user_id is not None and document.owner_id == self.user_id
        return self.is_admin or is_owner
