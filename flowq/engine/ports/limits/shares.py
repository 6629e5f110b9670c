"""The lines of shares: queued steps that are not sent yet."""

from datetime import timedelta
from typing import NamedTuple, Protocol

from flowq.engine.model.rows import StepRef


class Line(NamedTuple):
    """The queued steps of one share and one step type."""

    share: str
    step_name: str


class Shares(Protocol):
    """Lines, within one transaction."""

    def has_room(self, line: Line, window: int) -> bool:
        """Return whether steps wait in a line, and half of its window is free. One statement."""

    def take(self, line: Line, window: int, resend_after: timedelta) -> list[StepRef] | None:
        """Take the next steps out of a line, if half of its window is free; they are to be sent.

        Steps of paused runs are parked, and those behind them taken. To be run in a transaction:
        the line is locked until its end. None if another transaction has locked it.

        Args:
            window: How many steps of the line that are at least as urgent as the next one may be
                sent and unclaimed.
            resend_after: When they are due to be resent.
        """

    def next_line(self, after: Line) -> Line | None:
        """Return the first line after another one, in the order of their names."""
