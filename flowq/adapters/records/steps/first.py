"""The first claim of a process in a run: it also reads the definition of the run.

Which results a step reads is in the definition, so this claim cannot read them. Most first claims
are of steps that read none: those that a run begins with.
"""

from datetime import timedelta

from sqlalchemy import select
from typing_extensions import override

from flowq.adapters.records.runs.repo import DEFINITION_COLUMNS, FlowRunRepo, definition_of_row
from flowq.adapters.records.sql.prepared import Prepared
from flowq.adapters.records.sql.repository import RUNS
from flowq.adapters.records.steps.attempts import (
    CLAIM_COLUMNS,
    CLAIMED,
    AttemptWrites,
    claim_of_row,
    claim_parameters,
)
from flowq.core.errors import RunNotFound
from flowq.core.ids import LeaseToken, RunId, StepRunId
from flowq.engine.model.rows import Claim, Definition

_claimed = CLAIMED.cte("claimed")
_CLAIM_AND_DEFINE = Prepared(
    select(*_claimed.c, *DEFINITION_COLUMNS).select_from(
        _claimed.join(RUNS, RUNS.c.id == _claimed.c.flow_run_id)
    )
)


class FirstClaims(AttemptWrites):
    """The part of `FlowStepRunRepo` that claims a step of a run that the process does not know."""

    @override
    def claim_first(
        self, step_id: StepRunId, *, token: LeaseToken, lease: timedelta, worker: str
    ) -> tuple[Claim, Definition] | None:
        """Claim and read in one statement; in two on SQLite, without data-modifying CTEs."""
        if self._connection.dialect.name == "sqlite":
            claim = self.claim(step_id, token=token, lease=lease, worker=worker)
            if claim is None:
                return None
            definition = FlowRunRepo(self._within).definition(claim.run_id)
            if definition is None:
                raise RunNotFound.of(claim.run_id)
            return claim, definition
        given = claim_parameters(step_id, token, lease, worker)
        row = self._run(_CLAIM_AND_DEFINE, given).first()
        if row is None:
            return None
        claim = claim_of_row(step_id, token, row, [])
        return claim, definition_of_row(RunId(row[0]), row[len(CLAIM_COLUMNS) :])
