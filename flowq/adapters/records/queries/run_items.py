"""The items of a map: a page of them, the state of many, what they were given.

Rows are read by index, a page at a time. The states of thousands are read as two columns, for a
picture. Inputs are read apart, since a page may not show them, and only short ones.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Text, cast, func, or_, select
from typing_extensions import override

from flowq.adapters.records.sql.repository import FIRST_STARTED, STEPS, Repository
from flowq.core.ids import RunId, StepRunId
from flowq.core.states import StepState
from flowq.engine.queries.port import RunPages
from flowq.engine.queries.run_page import MAX_INPUTS, ItemFilter, ItemView

_C = STEPS.c
_ITEM: Final = (
    _C.id,
    _C.map_index,
    _C.status,
    _C.attempt,
    _C.recoveries,
    FIRST_STARTED,
    _C.completed_at,
    _C.execution_time_ms,
    _C.tokens_used,
    _C.cost_estimate,
    _C.worker,
    _C.error_type,
    _C.error_message,
    _C.cached_from.is_not(None),
    _C.unpriced_calls,
)


class RunItemReads(Repository, RunPages):
    """The part of `flowq.engine.queries.port.RunPages` that reads items of maps."""

    @override
    def items(
        self,
        run_id: RunId,
        key: str,
        *,
        limit: int,
        after: int | None = None,
        before: int | None = None,
        wanted: ItemFilter | None = None,
    ) -> list[ItemView]:
        query = select(*_ITEM).where(*_of(run_id, key))
        if wanted is not None:
            query = query.where(*_matches(wanted))
        rows = self._between(query, _C.map_index, after, before, limit)
        return [ItemView(StepRunId(row[0]), row[1], StepState(row[2]), *row[3:]) for row in rows]

    @override
    def item_states(
        self, run_id: RunId, key: str, *, first: int, limit: int
    ) -> list[tuple[int, StepState]]:
        query = (
            select(_C.map_index, _C.status)
            .where(*_of(run_id, key), _C.map_index.between(first, first + limit - 1))
            .order_by(_C.map_index)
        )
        return [(row[0], StepState(row[1])) for row in self._run(query)]

    @override
    def item_inputs(
        self, run_id: RunId, key: str, *, longest: int, indexes: Sequence[int] | None = None
    ) -> dict[int, Any]:
        is_short = func.length(cast(_C.inputs, Text)) <= longest
        query = select(_C.map_index, _C.inputs).where(*_of(run_id, key), is_short)
        if indexes is not None:
            query = query.where(_C.map_index.in_(indexes))
        rows = self._run(query.order_by(_C.map_index).limit(MAX_INPUTS))
        return {row[0]: row[1] for row in rows}

    def _between(
        self,
        query: Select[Any],
        place: ColumnElement[int],
        after: int | None,
        before: int | None,
        limit: int,
    ) -> list[Any]:
        """Return the first rows after a place, or the last ones before it, in order."""
        if before is not None:
            rows = self._run(query.where(place < before).order_by(place.desc()).limit(limit)).all()
            return list(reversed(rows))
        if after is not None:
            query = query.where(place > after)
        return list(self._run(query.order_by(place).limit(limit)).all())


def _of(run_id: RunId, key: str) -> Sequence[ColumnElement[bool]]:
    return _C.flow_run_id == run_id, _C.step_key == key, _C.map_index.is_not(None)


def _matches(wanted: ItemFilter) -> Sequence[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.status is not None:
        found.append(_C.status == wanted.status)
    if wanted.text:
        searched = (_C.worker, _C.error_type, _C.error_message)
        texts = [one.icontains(wanted.text, autoescape=True) for one in searched]
        found.append(or_(*texts, _C.map_index.in_(wanted.or_indexes)))
    return found
