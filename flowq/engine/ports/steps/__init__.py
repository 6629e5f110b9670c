"""The port of step runs, in the parts that its adapter has too.

attempts   claims, ends and leases
advance    what an advance queues, expands and ends
reads      for the planner, and for readers of results
programs   programs and their calls
"""

from typing import Protocol

from flowq.engine.ports.steps.advance import AdvanceRows
from flowq.engine.ports.steps.attempts import AttemptRows
from flowq.engine.ports.steps.programs import ProgramRows
from flowq.engine.ports.steps.reads import ReadRows

__all__ = ["AdvanceRows", "AttemptRows", "ProgramRows", "ReadRows", "StepRows"]


class StepRows(AttemptRows, AdvanceRows, ReadRows, ProgramRows, Protocol):
    """Guarded reads and writes of step runs, within one transaction."""
