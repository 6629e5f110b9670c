"""The end of the last step of a run, and of the run, in one statement.

A run that returns what its last step returns ends with that step, unless something has gone another
way: a step has failed, the run is stopping or paused. Then the statement ends only the step, and
`engine.advance.finish` decides about the run. As elsewhere the row of the run is locked before that
of the step. The statement sees all rows as they were before it, so in it the step itself does not
count as open, and counts as done. SQLite has no data-modifying CTEs: there it is one transaction.
"""

from typing import Final

from sqlalchemy import bindparam, exists, or_, select, true
from typing_extensions import override

from flowq.adapters.records.runs.closing import DONE, FAILED, OPEN, closing, if_clean, sums
from flowq.adapters.records.runs.repo import FlowRunRepo
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import RUNS, STEPS
from flowq.adapters.records.steps.attempts import COMPLETED, AttemptWrites, completion_parameters
from flowq.core.states import RunState, run_sources
from flowq.engine.model.rows import Claim, Outcome

_C = STEPS.c
_THIS_STEP: Final = _C.id == bindparam("p_id")
#: The row of the run is locked for a change of columns that nothing refers to.
_locked = (
    select(RUNS.c.id)
    .where(RUNS.c.id == bindparam("p_run"))
    .with_for_update(key_share=True)
    .cte("locked")
)
_ended = COMPLETED.where(exists(select(_locked.c.id))).returning(_C.id).cte("ended")
#: One pass over the rows: a question for each condition would be planned and read on its own.
_sums = sums(or_(DONE, _THIS_STEP), open=OPEN & ~_THIS_STEP, failed=FAILED)
_closed = (
    if_clean(
        closing(bindparam("p_outputs", type_=_C.outputs.type), _sums),
        _sums.c.open == 0,
        _sums.c.failed == 0,
    )
    .where(exists(select(_ended.c.id)))
    .returning(RUNS.c.id)
    .cte("closed")
)
_COMPLETE_AND_CLOSE = Prepared(
    select(_ended.c.id, _closed.c.id).select_from(_ended.outerjoin(_closed, true()))
)
_COMPLETED: Final = {"p_state": RunState.COMPLETED, "p_sources": [*run_sources(RunState.COMPLETED)]}


class LastSteps(AttemptWrites):
    """The part of `FlowStepRunRepo` that ends a run with its last step."""

    @override
    def complete_and_close(self, claim: Claim, outcome: Outcome) -> bool | None:
        if self._connection.dialect.name == "sqlite":
            if not self.complete(claim, outcome, advanced=True):
                return None
            runs = FlowRunRepo(self._within)
            return runs.close(claim.run_id, RunState.COMPLETED, outputs_of=claim.key, if_clean=True)
        given = {**completion_parameters(claim, outcome, advanced=True), **_COMPLETED}
        row = self._run(_COMPLETE_AND_CLOSE, {**given, "p_run": claim.run_id}).first()
        return None if row is None else row[1] is not None
