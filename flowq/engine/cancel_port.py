"""What a cancel, and the heartbeat that tells running attempts of it, ask of the records.

Part of the port `Records`, see `ports`: these are methods of its rows of runs and of step runs.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from flowq.core.ids import LeaseToken, RunId
from flowq.engine.rows import Claim, Orphan, Outcome


class RunCancels(Protocol):
    """The part of `RunRows` that cancels."""

    def request_cancel(self, run_ids: Sequence[RunId], reason: str) -> list[RunId]:
        """→ `cancelling`, because someone asked for it; also of a run that stops by itself.

        Returns:
            The runs that this call has asked: they were open, and nobody had asked them before.
        """

    def orphans(self, run_ids: Sequence[RunId]) -> list[Orphan]:
        """Child runs of these runs whose waiting step has ended, and that nobody has cancelled."""

    def is_stopping(self, run_id: RunId) -> bool:
        """Tell whether a run is stopping or has ended, and keep that so until the commit."""


class StepCancels(Protocol):
    """The part of `StepRows` that keeps leases and cancels attempts."""

    def renew(self, tokens: Sequence[LeaseToken], lease: timedelta) -> dict[LeaseToken, bool]:
        """Extend leases in one statement.

        Returns:
            From each lease that still holds to whether someone has cancelled its run.
        """

    def cancel_asked(self, tokens: Sequence[LeaseToken]) -> set[LeaseToken]:
        """Those of the leases that still hold and whose run someone has cancelled."""

    def cancel(self, claim: Claim, outcome: Outcome) -> bool:
        """`running` → `cancelled`, if the lease still holds and the run is stopping."""
