"""Why a run is paused, stopping, failed or cancelled.

Code decides by the kind and the failed step: what resumes a pause, what a page shows as the cause.
The text is only for people: users write their own reasons, and it is never parsed.
"""

from dataclasses import dataclass
from typing import Self

from flowq.core.ids import RunId, StepRunId, node_id
from flowq.core.states import StopKind


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a run is paused, stopping, failed or cancelled: written, kept and cleared as one."""

    kind: StopKind
    text: str  #: All of it, for people.
    failed_step_id: StepRunId | None = None  #: The node that has failed, of `failed` alone.

    @classmethod
    def of_step(cls, run_id: RunId, key: str, message: str | None) -> Self:
        """Return the reason of a run of which a step has failed."""
        return cls(StopKind.FAILED, f"step {key!r} failed: {message}", node_id(run_id, key))
