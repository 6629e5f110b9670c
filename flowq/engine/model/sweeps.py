"""The values of the sweeper's questions: what was lost, what is late, what is old."""

from dataclasses import dataclass

from flowq.core.ids import BatchId, RunId, StepRunId
from flowq.core.states import StepState
from flowq.core.usage import Usage
from flowq.engine.model.rows import StepRef


@dataclass(frozen=True, slots=True)
class RunIdRange:
    """Some open runs, by their ids."""

    after: RunId
    to: RunId | None  #: None: up to the last.


@dataclass(frozen=True, slots=True)
class DeletedTree:
    """What was deleted with a run."""

    runs: tuple[RunId, ...]  #: The run and its child runs, and theirs.
    objects: tuple[str, ...]  #: Keys of the objects that their rows named.


@dataclass(frozen=True, slots=True)
class ExpiredLease:
    """A step whose worker fell silent."""

    place: StepRef
    batch: BatchId
    failed: bool  #: It has been recovered too often and was failed instead of queued.
    attempt: int  #: The one that was lost.
    used: Usage  #: What the step has used up to now.


@dataclass(frozen=True, slots=True)
class UnclaimedStep:
    """A queued step that nobody took in time."""

    id: StepRunId
    place: StepRef
    resends: int  #: How often it was found so since it was queued.


@dataclass(frozen=True, slots=True)
class Orphan:
    """A child run that nobody waits for any more."""

    run_id: RunId
    key: str  #: The step that has waited for it,
    parent: RunId  #: of this run,
    state: StepState  #: and how that step has ended.
