"""The step runs repository: reads, writes of attempts and writes of advances in one class."""

from flowq.adapters.records.control.cancel import StepCancels
from flowq.adapters.records.control.pause import StepPauses
from flowq.adapters.records.steps.advance import AdvanceWrites
from flowq.adapters.records.steps.first import FirstClaims
from flowq.adapters.records.steps.last import LastSteps
from flowq.adapters.records.steps.next_call import NextCalls
from flowq.adapters.records.steps.reads import StepReads
from flowq.adapters.records.steps.release import LeaseReleases
from flowq.adapters.records.steps.resume import ProgramResumes


class FlowStepRunRepo(
    StepReads,
    ProgramResumes,
    NextCalls,
    FirstClaims,
    LastSteps,
    LeaseReleases,
    AdvanceWrites,
    StepCancels,
    StepPauses,
):
    """Reads and writes `flow_step_runs` within a session or a connection; never commits."""
