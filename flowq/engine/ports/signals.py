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
        """Read the schema of the newest wait for a signal of this name; None without one."""

    def awaited(self, run_id: RunId) -> list[str]:
        """Names of the signals that a run waits for now."""

    def lock(self, program: StepRunId) -> None:
        """Lock a program, so that it cannot begin to wait until the commit."""

    def match(self, run_id: RunId, *, advanced: bool) -> list[str]:
        """Match the signals of a run with its waits, the oldest first.

        To be called with the lock of the program's row, or by the suspension of the program.

        Args:
            advanced: Whether the caller makes the program continue.

        Returns:
            The keys of the waits that ended.
        """

    def move(self, run_id: RunId, new: RunId) -> None:
        """Move the signals that are not consumed to the run as which a run continues."""

    def undelivered(self, *, limit: int) -> list[RunId]:
        """Runs with an undelivered signal: they wait for it, or continue as another run."""
