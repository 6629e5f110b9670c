"""The columns of a run's row that say why it is paused or stopped: text, kind, failed step.

Each change of state with a reason writes all three in its own UPDATE, or keeps all three, so they
always belong to the same stop. The text is for people; the engine and the pages decide by the other
two.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, case

from flowq.adapters.records.sql.repository import RUNS
from flowq.core.ids import StepRunId
from flowq.core.states import StopKind
from flowq.engine.model.stops import StopReason

_R = RUNS.c

#: The columns with the values of `stop_parameters`.
STOP: Final[Mapping[str, Any]] = {
    "error_message": bindparam("p_error", type_=_R.error_message.type),
    "stop_kind": bindparam("p_kind", type_=_R.stop_kind.type),
    "failed_step_id": bindparam("p_failed_step", type_=_R.failed_step_id.type),
}
NO_STOP: Final[Mapping[str, Any]] = dict.fromkeys(STOP)


def stop_unless(is_kept: ColumnElement[bool]) -> dict[str, Any]:
    """Return the columns with the values of `stop_parameters`, unless the present ones are kept."""
    return {name: case((is_kept, _R[name]), else_=given) for name, given in STOP.items()}


def stop_parameters(reason: StopReason | None) -> dict[str, Any]:
    """Return the parameters of `STOP`."""
    return {
        # PostgreSQL stores no text with NUL.
        "p_error": reason.text.replace("\0", "\N{SYMBOL FOR NULL}") if reason else None,
        "p_kind": reason.kind if reason else None,
        "p_failed_step": reason.failed_step_id if reason else None,
    }


def stop_of_row(text: str | None, kind: str | None, step: Any) -> StopReason | None:
    """Return the reason of a row; None when it has none."""
    if text is None or kind is None:
        return None
    return StopReason(StopKind(kind), text, None if step is None else StepRunId(step))
