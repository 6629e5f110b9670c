"""A suspension that claims the program's next call for the process that suspends it.

A local call runs in that process, so its row is inserted as it is after a claim, and no statement
claims it. If the process dies, the row's lease expires, as after any claim. A run that is paused
begins no attempts: there nothing is written, and the call is inserted by an ordinary suspension.
"""

from typing import Any, Final

from sqlalchemy import Float, bindparam
from typing_extensions import override

from flowq.adapters.records.runs.repo import FlowRunRepo
from flowq.adapters.records.sql.repository import STEPS
from flowq.adapters.records.sql.types import DbNow
from flowq.adapters.records.steps.attempts import AttemptWrites
from flowq.adapters.records.steps.suspend import NEXT_ROW, ProgramWrites, suspending
from flowq.core.states import RunState, StepState
from flowq.engine.model.programs import Claiming, Suspension
from flowq.engine.model.rows import Claim

_C = STEPS.c
_CLAIMED_ROW: Final = {
    **{name: value for name, value in NEXT_ROW.items() if name != "wake_at"},
    "attempt": 1,
    "started_at": DbNow(),
    "first_started_at": DbNow(),
    "lease_token": bindparam("p_call_token", type_=_C.lease_token.type),
    "lease_expires_at": DbNow(bindparam("p_lease", type_=Float)),
    "worker": bindparam("p_worker", type_=_C.worker.type),
}
_SUSPEND_AND_CLAIM = suspending(_CLAIMED_ROW, (RunState.RUNNING,))


class LocalCalls(AttemptWrites, ProgramWrites):
    """The programs' part of `FlowStepRunRepo` that claims calls which it inserts."""

    @override
    def suspend_and_claim(
        self, claim: Claim, suspension: Suspension, claiming: Claiming
    ) -> Claim | None:
        call = suspension.next_call
        if call is None:
            return None
        lease, worker = claiming.lease, claiming.worker
        if self._connection.dialect.name == "sqlite":
            run = FlowRunRepo(self._within).status(claim.run_id)
            if run is not RunState.RUNNING:
                return None
            if self.suspend(claim, suspension) is not StepState.WAITING:
                return None
            return self.claim(call.id, token=claiming.token, lease=lease, worker=worker)
        given: dict[str, Any] = {
            **self._next_row(claim, suspension, call),
            "p_state": StepState.RUNNING,
            "p_call_token": claiming.token,
            "p_lease": lease.total_seconds(),
            "p_worker": worker,
        }
        if not self._run(_SUSPEND_AND_CLAIM, given).all():
            return None
        spec = call.spec
        return Claim(
            call.id, claim.run_id, spec.key, None, 1, 0, claiming.token, spec.arguments, spec=spec
        )
