"""What the engine asks of the records for attempts that are given back or do not know their end."""

from collections.abc import Sequence
from typing import Protocol

from flowq.core.ids import LeaseToken
from flowq.core.states import StepState
from flowq.engine.rows import Claim, StepPlace


class StepReturns(Protocol):
    """The part of the step runs that gives back and looks again."""

    def give_back(self, tokens: Sequence[LeaseToken]) -> list[StepPlace]:
        """`running` → `queued` without counting the attempt, due to be sent again at once.

        Returns:
            The steps that this call has changed.
        """

    def ended(self, claim: Claim, worker: str) -> StepState | None:
        """The state in which an attempt has left its row; None if it holds it, or never did that.

        Args:
            claim: The attempt.
            worker: Who claimed it.
        """
