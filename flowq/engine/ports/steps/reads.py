"""Reads of step runs, for the planner and for readers of results."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from flowq.core.ids import RunId, StepRunId
from flowq.core.states import RunState, StepState
from flowq.engine.model.rows import StepProgress, StepRef, StoredStep


class ReadRows(Protocol):
    """Reads of step runs, within one transaction."""

    def node(self, step_id: StepRunId) -> StepRef | None:
        """Return the run, key and index of a step run."""

    def ready(self, run_id: RunId) -> list[str]:
        """Return the keys of all pending steps without open dependencies."""

    def states(self, run_id: RunId, keys: Iterable[str]) -> dict[str, StepState]:
        """Return the states of nodes (for a map: of the map, not of its items)."""

    def has_open(self, run_id: RunId, key: str | None = None) -> bool:
        """Return whether any step of the run, or any item of one map, has not ended."""

    def counts(self, run_id: RunId, key: str) -> dict[StepState, int]:
        """Return how many items of a map are in each state."""

    def failed(self, run_id: RunId) -> list[StoredStep]:
        """Return the failed nodes of a run, first failure first."""

    def first_failed_item(self, run_id: RunId, key: str) -> StoredStep | None:
        """Return the item of a map that failed first."""

    def stored(self, run_id: RunId, keys: Sequence[str]) -> list[StoredStep]:
        """Return nodes by key, as readers of results see them."""

    def status_and_nodes(
        self, run_id: RunId, keys: Sequence[str]
    ) -> tuple[RunState, RunId | None, list[StoredStep]] | None:
        """Return the state of a run, as which run it continues, and nodes if it has completed."""

    def item(self, run_id: RunId, key: str, index: int) -> StoredStep | None:
        """Return one item of a map."""

    def items(
        self, run_id: RunId, key: str, first: int = 0, limit: int | None = None
    ) -> list[StoredStep]:
        """Return items of a map in order, from an index on; all of them without a limit."""

    def step_progress(self, run_id: RunId) -> list[StepProgress]:
        """Return the progress of each step run of a run, in step order, items after their map."""

    def copies(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return durable copies of small results by their keys, when the cache has lost them."""
