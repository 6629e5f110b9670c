"""The history of attempts that did not end their step.

The last attempt of a step is in the step's own row, so a step that succeeds at the first attempt
writes nothing here. An attempt that is followed by another one is copied in the transaction that
ends it, after the UPDATE that has found its lease: this holds the row's lock, and keeps the worker
and the start time in the row.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Integer, String, Text, bindparam, func, insert, select

from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import ATTEMPTS, STEPS, Repository
from flowq.adapters.records.sql.types import DbNow
from flowq.core.ids import StepRunId
from flowq.core.states import AttemptEnd

_C, _A = STEPS.c, ATTEMPTS.c
#: The row of the step has the whole message, until another attempt fails.
_MESSAGE_LIMIT: Final = 500

_NEXT_PLACE = (
    select(func.coalesce(func.max(_A.place), 0) + 1)
    .where(_A.step_run_id == _C.id)
    .scalar_subquery()
)
_APPEND = Prepared(
    insert(ATTEMPTS).from_select(
        [
            *("step_run_id", "place", "flow_run_id", "attempt", "claimed_at", "ended_at"),
            *("worker", "outcome", "error_type", "error_message"),
        ],
        select(
            _C.id,
            _NEXT_PLACE,
            _C.flow_run_id,
            _C.attempt + bindparam("p_uncounted", type_=Integer),
            func.coalesce(_C.started_at, _C.created_at),
            DbNow(),
            _C.worker,
            bindparam("p_outcome", type_=String),
            bindparam("p_error_type", type_=String),
            bindparam("p_error", type_=Text),
        ).where(_C.id.in_(bindparam("p_ids", expanding=True))),
    )
)


class AttemptLog(Repository):
    """Keeps attempts that are followed by others."""

    def _append(
        self,
        steps: Sequence[StepRunId],
        end: AttemptEnd,
        error_type: str | None = None,
        error: str | None = None,
        *,
        counted: bool = True,
    ) -> None:
        """Copy the last attempts of steps whose rows this transaction has just changed.

        Args:
            end: How these attempts ended.
            error_type: Of the error, if there was one.
            counted: Whether the row still counts the attempt.
        """
        if not steps:
            return
        given: dict[str, Any] = {
            "p_ids": list(steps),
            "p_outcome": end,
            "p_uncounted": 0 if counted else 1,
        }
        given |= {"p_error_type": error_type, "p_error": error and error[:_MESSAGE_LIMIT]}
        self._run(_APPEND, given)
