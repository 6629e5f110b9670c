"""Why a run is paused, stopping, failed or cancelled.

The kind and the failed step are what programs decide by: who resumes a pause, what a page shows as
the cause. The text is for people, and may be any: users word their own reasons, and nothing is read
from it.
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
