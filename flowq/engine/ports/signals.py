"""The signals of programs, as the engine reads and changes them."""

from collections.abc import Mapping
from typing import Any, Protocol

from flowq.core.ids import RunId, StepRunId
from flowq.engine.model.rows import NewSignal


class SignalRows(Protocol):
    """Guarded reads and writes of signals, within one transaction."""

    def insert(self, signal: NewSignal) -> None:
        """Store a signal."""

    def wanted(self, run_id: RunId, name: str) -> Mapping[str, Any] | None:
        """Read what the newest wait for a signal of this name says about it; None without one."""

    def awaited(self, run_id: RunId) -> list[str]:
        """Names of the signals that a run waits for now."""

    def lock(self, program: StepRunId) -> None:
        """Keep a program from beginning to wait until the commit."""

    def match(self, run_id: RunId, *, advanced: bool) -> list[str]:
        """Give the signals of a run to those waits that they are for, the oldest first.

        To be called with the lock of the program's row held, or by the one that suspends it.

        Args:
            run_id: The run.
            advanced: Whether the caller sees to it that the program continues.

        Returns:
            The keys of the waits that have ended by that.
        """

    def move(self, run_id: RunId, new: RunId) -> None:
        """Pass the signals that nobody has got on to the run as which a run continues."""

    def undelivered(self, *, limit: int) -> list[RunId]:
        """Runs that wait for a signal which is there, or have gone on without one."""
