"""The values of the sweeper's queries: what was lost, what is late, what is old."""

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
    """A step whose lease has expired."""

    place: StepRef
    batch: BatchId
    failed: bool  #: It was recovered too often, so it was failed and not queued.
    attempt: int  #: The lost attempt.
    used: Usage  #: What the step has used up to now.


@dataclass(frozen=True, slots=True)
class UnclaimedStep:
    """A queued step that no worker took in time."""

    id: StepRunId
    place: StepRef
    resends: int  #: How often it was resent since it was queued.


@dataclass(frozen=True, slots=True)
class Orphan:
    """A child run whose parent step has ended without it."""

    run_id: RunId
    key: str  #: The step that has waited for it,
    parent: RunId  #: of this run,
    state: StepState  #: and how that step has ended.
