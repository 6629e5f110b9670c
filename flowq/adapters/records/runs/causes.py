"""What failed runs: the failure of an item, a call or a step of a child run, however deep it is.

A run names the step that failed it, a map its first failed item, a program the call that it did not
catch, and a child run the step that waits for it. All wanted runs are followed at once, link by
link, so a list of them costs a few reads by index for each level.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from typing_extensions import override

from flowq.adapters.records.sql.repository import RUNS, STEPS, Repository
from flowq.core.ids import RunId
from flowq.core.states import StepState
from flowq.engine.queries.lists import RootCause, RunName
from flowq.engine.queries.port import Lists

_R, _S = RUNS.c, STEPS.c
#: Links that are followed: steps, calls and runs.
_MAX_LINKS: Final = 60
_STEP: Final = (
    *(_S.id, _S.step_key, _S.map_index, _S.map_size, _S.failed_step_id),
    *(_S.error_type, _S.error_message),
)
_NODES: Final = STEPS.alias("node")
_RANK: Final = (
    func.row_number()
    .over(
        partition_by=(_S.flow_run_id, _S.step_key),
        order_by=(_S.completed_at, _S.map_index),
    )
    .label("rank")
)


class CauseReads(Repository, Lists):
    """The part of `flowq.engine.queries.port.Lists` that finds causes in child runs."""

    @override
    def root_causes(self, run_ids: Sequence[RunId]) -> dict[RunId, RootCause]:
        rows = self._run(select(_R.id, _R.failed_step_id).where(_R.id.in_(run_ids)))
        # From a wanted run to the step that is looked at next, and to the runs on the way to it.
        at = {RunId(row[0]): row[1] for row in rows if row[1] is not None}
        ways: dict[RunId, tuple[RunName, ...]] = dict.fromkeys(at, ())
        found: dict[RunId, RootCause] = {}
        for _ in range(_MAX_LINKS):
            if not at:
                break
            steps = self._failed_steps(list(at.values()))
            waiting = [step.id for step in steps.values() if step.failed_step_id is None]
            children = self._last_children(waiting)
            further: dict[RunId, UUID] = {}
            for run_id, step_id in at.items():
                step = steps.get(step_id)
                if step is None:
                    continue
                child = children.get(step.id)
                if child is not None:
                    ways[run_id] += (RunName(RunId(child.id), child.flow_name),)
                following = step.failed_step_id if child is None else child.failed_step_id
                if following is not None:
                    further[run_id] = following
                else:
                    found[run_id] = _cause(ways[run_id], step, child)
            at = further
        return found

    @override
    def failed_counts(self, run_ids: Sequence[RunId]) -> dict[RunId, int]:
        failed = (
            select(_S.flow_run_id, func.count())
            .where(
                _S.flow_run_id.in_(run_ids), _S.status == StepState.FAILED, _S.map_size.is_(None)
            )
            .group_by(_S.flow_run_id)
        )
        return {RunId(row[0]): row[1] for row in self._run(failed)} if run_ids else {}

    def _failed_steps(self, ids: Sequence[UUID]) -> Mapping[UUID, Any]:
        """Return steps by id; in place of a map its first failed item, by the id of the map."""
        steps = {row.id: row for row in self._run(select(*_STEP).where(_S.id.in_(ids)))}
        maps = [row.id for row in steps.values() if row.map_size is not None]
        if maps:
            ranked = (
                select(*_STEP, _NODES.c.id.label("node_id"), _RANK)
                .join(
                    _NODES,
                    (_NODES.c.flow_run_id == _S.flow_run_id) & (_NODES.c.step_key == _S.step_key),
                )
                .where(
                    _NODES.c.id.in_(maps), _S.map_index.is_not(None), _S.status == StepState.FAILED
                )
                .subquery()
            )
            for row in self._run(select(ranked).where(ranked.c.rank == 1)):
                steps[row.node_id] = row
        return steps

    def _last_children(self, steps: Sequence[UUID]) -> Mapping[UUID, Any]:
        """Return the child runs of steps, by the step; of one that continues, the last one."""
        query = select(
            _R.id, _R.flow_name, _R.failed_step_id, _R.error_message, _R.parent_step_run_id
        ).where(_R.parent_step_run_id.in_(steps), _R.continued_as.is_(None))
        return {row.parent_step_run_id: row for row in self._run(query)}


def _cause(way: tuple[RunName, ...], step: Any, child: Any) -> RootCause:
    """Return the cause: the failure of a step, or of a run that no step of it has failed."""
    if child is not None:
        return RootCause(way, None, None, child.error_message)
    label = step.step_key if step.map_index is None else f"{step.step_key}[{step.map_index}]"
    return RootCause(way, label, step.error_type, step.error_message)
