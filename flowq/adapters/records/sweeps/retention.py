"""Deletes old rows, and finds unreferenced objects.

A run is deleted with all of its child runs, or not at all: the row of the parent step references
the result of a child run. All of them are terminal and so never change; no row can reference their
objects later. A run is kept as long as a rerun of it exists.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import BindParameter, Integer, Text, bindparam, cast, delete, exists, select
from typing_extensions import override

from flowq.adapters.records.cached import SharedObjects
from flowq.adapters.records.logs import SqlLogs
from flowq.adapters.records.sql.repository import CACHED, DUTIES, LOGS, REQUESTS, RUNS, STEPS
from flowq.adapters.records.sql.tables import IS_RERUN
from flowq.adapters.records.sql.types import DbNow, json_text
from flowq.core.ids import RunId, earliest_id
from flowq.core.results import LOGS as LOG_OBJECTS
from flowq.core.results import StorageKind, belongs_to, maker_of_object, step_of_object
from flowq.core.states import TERMINAL_RUN_STATES, TERMINAL_STEP_STATES, StepState
from flowq.engine.model.sweeps import DeletedTree
from flowq.engine.ports.sweeps import Sweeps

_R = RUNS.c
_S = STEPS.c
_KEYS: BindParameter[Any] = bindparam("p_keys", expanding=True)
_ENDED = _R.status.in_(tuple(TERMINAL_RUN_STATES))

_again = RUNS.alias("again").c
#: Ids sort by time, so old runs are at one end of the primary key.
_EXPIRED = (
    select(_R.id)
    .where(
        _R.id > bindparam("p_after", type_=_R.id.type),
        _R.id < bindparam("p_to", type_=_R.id.type),
        ~exists().where(_S.id == _R.parent_step_run_id),
        ~exists().where(_again.rerun_of == _R.id),
        _R.completed_at < bindparam("p_before", type_=_R.completed_at.type),
        _ENDED,
    )
    .order_by(_R.id)
    .limit(bindparam("p_limit", type_=Integer))
)

_tree = select(_R.id).where(_R.id == bindparam("p_root", type_=_R.id.type)).cte("tree", True)
_TREE = _tree.union(
    select(_R.id).join_from(
        _tree.join(STEPS, _S.flow_run_id == _tree.c.id), RUNS, _R.parent_step_run_id == _S.id
    )
)
#: Locks the runs first: a rerun that is inserted at this moment locks the run that it repeats.
_LOCK = select(_R.id).where(_R.id.in_(_KEYS)).with_for_update()
_RERUNS = select(_R.id).where(IS_RERUN, _R.rerun_of.in_(_KEYS))
_STATUSES = select(_R.id, _ENDED).where(_R.id.in_(select(_TREE.c.id)))
_NAMED = select(json_text(_S.result, "key")).where(
    _S.flow_run_id.in_(_KEYS), json_text(_S.result, "place") == StorageKind.OBJECT
)
_DELETE_REQUESTS = (
    delete(REQUESTS).where(REQUESTS.c.flow_run_id.in_(_KEYS)).returning(REQUESTS.c.object_key)
)
_ENTRIES = (
    select(CACHED.c.step_run_id, cast(CACHED.c.outputs, Text))
    .join(STEPS, _S.id == CACHED.c.step_run_id)
    .where(_S.flow_run_id.in_(_KEYS))
)
_LOGGED = select(LOGS.c.object_key).where(
    LOGS.c.flow_run_id.in_(_KEYS), LOGS.c.object_key.is_not(None)
)
_DELETE_RUNS = delete(RUNS).where(_R.id.in_(_KEYS)).returning(_R.id)
_MADE = select(REQUESTS.c.object_key).where(REQUESTS.c.id.in_(_KEYS))
_OWNERS = select(_S.id, _S.status, json_text(_S.result, "key")).where(_S.id.in_(_KEYS))
_RUNS = select(_R.id).where(_R.id.in_(_KEYS))


class RetentionSweeps(SharedObjects, Sweeps):
    """The deleting part of `SqlSweeps`."""

    @override
    def position(self, duty: str) -> str:
        query = select(DUTIES.c.position).where(DUTIES.c.name == duty)
        return str(self._run(query).scalar() or "")

    @override
    def expired(self, age: timedelta, *, after: RunId, limit: int) -> list[RunId]:
        before = self._run(select(DbNow(-age.total_seconds()))).scalar_one()
        given = {"p_after": after, "p_to": earliest_id(before), "p_before": before}
        return [RunId(row[0]) for row in self._run(_EXPIRED, {**given, "p_limit": limit})]

    @override
    def delete_tree(self, root: RunId) -> DeletedTree | None:
        rows = self._run(_STATUSES, {"p_root": root}).all()
        if not all(row[1] for row in rows):
            return None
        ids = [row[0] for row in rows]
        if self._has_rerun(ids):
            return None
        named = {row[0] for row in self._run_parts(_NAMED, {}, ids)}
        made = [row[0] for row in self._run_parts(_DELETE_REQUESTS, {}, ids) if row[0]]
        entries = list(self._run_parts(_ENTRIES, {}, ids)) if made else []
        logged = [row[0] for row in self._run_parts(_LOGGED, {}, ids)]
        deleted = tuple(RunId(row[0]) for row in self._run_parts(_DELETE_RUNS, {}, ids))
        # Cached objects are kept after the run that made them; hits do not own their object.
        objects = sorted(named - self._shared(named, owners=True))
        images = sorted(set(made) - self._shared(made))
        # A later step may have put the link to an image into its own cached result.
        stale = [row[0] for row in entries if row[1] and any(image in row[1] for image in images)]
        if stale:
            self._run(delete(CACHED).where(CACHED.c.step_run_id.in_(stale)))
        return DeletedTree(deleted, (*objects, *images, *logged))

    def _has_rerun(self, ids: Sequence[RunId]) -> bool:
        """Lock runs, and return whether another run reruns one of them."""
        list(self._run_parts(_LOCK, {}, ids))
        again = {row[0] for row in self._run_parts(_RERUNS, {}, ids)}
        return not again <= set(ids)

    @override
    def unnamed(self, keys: Sequence[str]) -> list[str]:
        """Return the keys of objects of steps that are deleted, or have ended with another result.

        Cached objects, and those of hits, are referenced by other rows; given values by the spec
        of their run, as long as it is there; logged lines by the row of their bunch.
        """
        logs = [key for key in keys if key.startswith(f"{LOG_OBJECTS}/")]
        unused = sorted(set(logs) - SqlLogs(self._within).named(logs)) if logs else []
        owners = {key: owner for key in keys if (owner := step_of_object(key)) is not None}
        ids = list(set(owners.values()))
        rows = self._run_parts(_OWNERS, {}, ids)
        found = {row[0]: (StepState(row[1]), row[2]) for row in rows}
        runs = {
            row[0] for row in self._run_parts(_RUNS, {}, [id_ for id_ in ids if id_ not in found])
        }

        def is_unnamed(key: str) -> bool:
            state, named = found.get(owners[key], (StepState.CANCELLED, None))
            if owners[key] in runs or state not in TERMINAL_STEP_STATES:
                return False
            return not belongs_to(key, named)

        unnamed = [key for key in owners if is_unnamed(key)]
        shared = self._shared(unnamed) if unnamed else set()
        # Images are referenced by the calls that made them.
        makers = [maker_of_object(key) for key in unnamed]
        made = {row[0] for row in self._run_parts(_MADE, {}, makers)}
        return [*unused, *(key for key in unnamed if key not in made | shared)]
