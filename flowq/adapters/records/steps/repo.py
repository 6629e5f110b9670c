"""The step runs repository: reads, writes of attempts and writes of advances in one class."""

from flowq.adapters.records.control.cancel import StepCancels
from flowq.adapters.records.control.pause import StepPauses
from flowq.adapters.records.steps.advance import AdvanceWrites
from flowq.adapters.records.steps.attempts import AttemptWrites
from flowq.adapters.records.steps.program_reads import ProgramReads
from flowq.adapters.records.steps.reads import StepReads
from flowq.adapters.records.steps.release import LeaseReleases
from flowq.adapters.records.steps.suspend import ProgramWrites
from flowq.adapters.records.steps.wake import ProgramWakes


class FlowStepRunRepo(
    StepReads,
    AttemptWrites,
    LeaseReleases,
    AdvanceWrites,
    StepCancels,
    StepPauses,
    ProgramReads,
    ProgramWrites,
    ProgramWakes,
):
    """Reads and writes `flow_step_runs` within a session or a connection; never commits."""
