"""The tables of stored documents, and of the names that are bound to them.

Neither is changed after it was written, but for `deleted_at`: runs name the version that they were
started from.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from flowq.adapters.records.sql.base import Base


class StoredDocument(Base):
    """A version of a document; a document is all versions of one kind and path."""

    __tablename__ = "flow_documents"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    path: Mapped[str] = mapped_column(String(200))
    version: Mapped[int]
    source: Mapped[str] = mapped_column(Text)
    content: Mapped[Any]
    sha256: Mapped[str] = mapped_column(String(64))
    parent_id: Mapped[UUID | None]
    is_template: Mapped[bool]
    owner_id: Mapped[str | None] = mapped_column(String(200))
    team_id: Mapped[str | None] = mapped_column(String(200))
    visibility: Mapped[str] = mapped_column(String(20))
    labels: Mapped[Any]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (Index("uq_flow_documents_version", "kind", "path", "version", unique=True),)


class DocumentAlias(Base):
    """A name that is bound to a version of a document, such as the id of an execution."""

    __tablename__ = "flow_document_aliases"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    alias: Mapped[str] = mapped_column(String(200), primary_key=True)
    document_id: Mapped[UUID] = mapped_column(ForeignKey("flow_documents.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "document_id"),)
