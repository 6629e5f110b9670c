"""Reruns: what is read of the earlier run, and the rows that are reused."""

from collections.abc import Sequence
from typing import Protocol

from flowq.core.ids import RunId
from flowq.engine.model.reruns import OldRun, OldStep, ReusedStep


class Reruns(Protocol):
    """Rows of reruns, within one transaction."""

    def old_run(self, run_id: RunId) -> OldRun | None:
        """An earlier run; raises `RunUnreadable`."""

    def old_steps(self, run_id: RunId, keys: Sequence[str] | None = None) -> list[OldStep]:
        """The rows of an earlier run in step order, or those of some keys; an item after its map.

        Raises:
            RunUnreadable: a row cannot be read.
        """

    def keep(self, run_id: RunId) -> bool:
        """Keep a run from being deleted until the commit; False when it is deleted already."""

    def insert_reused(self, run_id: RunId, steps: Sequence[ReusedStep]) -> None:
        """Insert rows that have the ends of others."""

    def reruns_of(self, run_id: RunId) -> list[RunId]:
        """The reruns of a run, newest first, a few at most."""
