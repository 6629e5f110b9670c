"""Cached results, and the objects that they keep from being deleted.

An entry belongs to the step that made the result. It is found by its key until it expires, and kept
for a while after that: a step that read it just before may still be writing its own row. A hit
references the object of another step; its row says so in `cached_from`. The link to an image, or
to a block, is inside a result, which is not parsed: so all of them are kept of a step with an
entry, or with a hit.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Float, Text, bindparam, cast, delete, select
from typing_extensions import override

from flowq.adapters.records.sql.payloads import copy_from_text
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.reading import result_ref
from flowq.adapters.records.sql.repository import CACHED, HELD, STEPS, Repository, by_dialect
from flowq.adapters.records.sql.types import DbNow, json_text
from flowq.adapters.records.steps.attempts import result_columns
from flowq.core.errors import RunUnreadable
from flowq.core.ids import StepRunId
from flowq.core.results import StorageKind, is_result, step_of_object
from flowq.core.usage import Usage
from flowq.engine.model.rows import CacheEntry, Claim, Outcome
from flowq.engine.ports.cached import CachedResults

_E, _C = CACHED.c, STEPS.c
_KEYS: Any = bindparam("p_keys", expanding=True)

_FIND = Prepared(
    select(_E.step_run_id, _E.result, cast(_E.outputs, Text), _E.tokens, _E.cost)
    .where(_E.key == bindparam("p_key"), _E.expires_at > DbNow())
    .order_by(_E.expires_at.desc())
    .limit(1)
)

_COLUMNS: Final = (
    "step_run_id",
    "key",
    "step_name",
    "created_at",
    "expires_at",
    "result",
    "outputs",
    "tokens",
    "cost",
)
#: Only while the attempt holds its lease: otherwise its value is no step's result.
_MADE = select(
    _C.id,
    bindparam("p_key", type_=_E.key.type),
    _C.step_name,
    DbNow(),
    DbNow(bindparam("p_ttl", type_=Float)),
    bindparam("p_result", type_=_E.result.type),
    bindparam("p_outputs", type_=_E.outputs.type),
    _C.tokens_used,
    _C.cost_estimate,
).where(HELD)


def _upsert(insert: Any) -> Prepared:
    put = insert.from_select(_COLUMNS, _MADE)
    changed = {name: put.excluded[name] for name in _COLUMNS[1:]}
    return Prepared(put.on_conflict_do_update(index_elements=["step_run_id"], set_=changed))


_PUT: Final = by_dialect(CACHED, _upsert)
_PURGE = delete(CACHED).where(_E.expires_at < DbNow(bindparam("p_before", type_=Float)))

_IN_ENTRIES = select(json_text(_E.result, "key")).where(_E.step_run_id.in_(_KEYS))
_IN_HITS = select(json_text(_C.result, "key")).where(
    _C.cached_from.in_(_KEYS), _C.cached_from.is_not(None)
)
_HAVE_ENTRIES = select(_E.step_run_id).where(_E.step_run_id.in_(_KEYS))
_HAVE_HITS = select(_C.cached_from).where(_C.cached_from.in_(_KEYS), _C.cached_from.is_not(None))
_IN_OWNERS = select(json_text(_C.result, "key")).where(_C.id.in_(_KEYS))


class SqlCachedResults(Repository, CachedResults):
    """Implements `flowq.engine.ports.CachedResults`."""

    @override
    def find(self, key: str) -> CacheEntry | None:
        row = self._run(_FIND, {"p_key": key}).first()
        if row is None:
            return None
        try:
            ref = result_ref(row[1])
        except RunUnreadable:
            return None  # it is of another run
        if ref is None:
            return None
        copy = None if row[2] is None or ref.place is not StorageKind.ROW else row[2]
        data = None if copy is None else copy_from_text(ref.codec, copy)
        return CacheEntry(StepRunId(row[0]), ref, data, Usage(int(row[3]), row[4]))

    @override
    def put(self, key: str, claim: Claim, outcome: Outcome, ttl: timedelta) -> bool:
        given = {"p_key": key, "p_id": claim.id, "p_token": claim.token}
        given |= {"p_ttl": ttl.total_seconds(), **result_columns(outcome)}
        return self._changes(_PUT[self._connection.dialect.name], given)

    @override
    def purge(self, age: timedelta) -> int:
        return self._run(_PURGE, {"p_before": -age.total_seconds()}).rowcount


class SharedObjects(Repository):
    """Finds objects that other rows than their own reference."""

    def _shared(self, keys: Iterable[str], *, owners: bool = False) -> set[str]:
        """Return the keys that an entry or a hit references; with `owners`, or their step."""
        wanted = {key: owner for key in keys if (owner := step_of_object(key)) is not None}
        steps: Sequence[Any] = list(set(wanted.values()))
        queries = (_IN_ENTRIES, _IN_HITS, *((_IN_OWNERS,) if owners else ()))
        named = {row[0] for query in queries for row in self._run_parts(query, {}, steps)}
        linked = {key: owner for key, owner in wanted.items() if not is_result(key)}
        makers: Sequence[Any] = list(set(linked.values()))
        shared = {
            row[0]
            for query in (_HAVE_ENTRIES, _HAVE_HITS)
            for row in self._run_parts(query, {}, makers)
        }
        kept = {key for key, owner in linked.items() if owner in shared}
        return kept | (wanted.keys() & named)
