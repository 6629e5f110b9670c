"""Runs of stored documents: each by the version that it names, sums by document."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from typing_extensions import override

from flowq.adapters.records.sql.repository import DOCUMENTS, RUNS, Repository
from flowq.adapters.records.sql.types import total_cost
from flowq.core.ids import RunId, earliest_id
from flowq.core.states import RunState
from flowq.engine.model.documents import DocumentKind
from flowq.engine.queries.instances import DocumentRun, DocumentUsage
from flowq.engine.queries.port import Instances

_R, _D = RUNS.c, DOCUMENTS.c
_VERSION: Final = (_D.id, _D.path, _D.version, _D.labels)


class InstanceReads(Repository, Instances):
    """The runs of documents of `Overview`."""

    @override
    def document_run(self, run_id: RunId, kind: DocumentKind) -> DocumentRun | None:
        query = select(*_VERSION, _R.flow_metadata).join(RUNS, _R.document_id == _D.id)
        row = self._run(query.where(_R.id == run_id, _D.kind == kind)).first()
        return None if row is None else _of(row, row.flow_metadata or {})

    @override
    def document_versions(self, ids: Sequence[UUID]) -> dict[UUID, DocumentRun]:
        rows = self._run(select(*_VERSION).where(_D.id.in_(ids))) if ids else ()
        return {row.id: _of(row, {}) for row in rows}

    @override
    def document_usage(
        self,
        kind: DocumentKind,
        *,
        path: str | None = None,
        user_id: str | None = None,
        since: datetime,
    ) -> list[DocumentUsage]:
        query = (
            select(
                _D.path,
                _R.status,
                func.max(_D.version).label("version"),
                func.count().label("count"),
                func.coalesce(func.sum(_R.total_tokens), 0).label("tokens"),
                total_cost(_R.total_cost).label("cost"),
                func.coalesce(func.sum(_R.execution_time_ms), 0).label("time"),
                func.count(_R.execution_time_ms).label("timed"),
            )
            .join(DOCUMENTS, _R.document_id == _D.id)
            .where(_D.kind == kind, _R.id >= earliest_id(since))
        )
        if path is not None:
            query = query.where(_D.path == path)
        if user_id is not None:
            query = query.where(_R.user_id == user_id)
        rows = self._run(query.group_by(_D.path, _R.status).order_by(_D.path)).all()
        made = [(name, list(same)) for name, same in groupby(rows, key=lambda row: row.path)]
        newest = self._ids(kind, {name: max(row.version for row in same) for name, same in made})
        return [_sum(name, newest[name], same) for name, same in made]

    def _ids(self, kind: DocumentKind, versions: dict[str, int]) -> dict[str, UUID]:
        """Return the ids of some versions, by their paths."""
        query = select(_D.path, _D.version, _D.id).where(_D.kind == kind, _D.path.in_(versions))
        rows = self._run(query) if versions else ()
        return {row.path: row.id for row in rows if versions[row.path] == row.version}


def _of(row: Any, metadata: Any) -> DocumentRun:
    return DocumentRun(row.id, row.path, row.version, row.labels, metadata)


def _sum(path: str, newest: UUID, rows: list[Any]) -> DocumentUsage:
    return DocumentUsage(
        path=path,
        newest=newest,
        states={RunState(row.status): row.count for row in rows},
        tokens=sum(int(row.tokens) for row in rows),
        cost=sum((row.cost for row in rows), Decimal(0)),
        execution_time_ms=sum(int(row.time) for row in rows),
        timed=sum(row.timed for row in rows),
    )
