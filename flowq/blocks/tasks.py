"""Tasks: the runs of documents, as their clients know them.

Nothing of a task is in a process: it is found by its id in the rows, and what clients see of it is
made from its events and its rows, by every process in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from flowq.blocks.errors import Code, PuppyException
from flowq.blocks.reports.frames import Translator
from flowq.blocks.reports.outline import Outline
from flowq.blocks.reports.statuses import cancelled, plain_error, task_status
from flowq.core.ids import RunId
from flowq.core.references import Reference
from flowq.core.states import RunState, StepState
from flowq.engine.advance.resolve import lookup
from flowq.engine.engine import Engine
from flowq.engine.model.rows import RunView

#: Whose tasks those are that were started without a user.
LOCAL_USER: Final = "local-user"
_STATUS: Final = {
    RunState.PENDING: "PENDING",
    RunState.COMPLETED: "COMPLETED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "FAILED",
}
_ENDED: Final = (StepState.COMPLETED, StepState.SKIPPED)


class TaskNotFound(PuppyException):
    """There is no such task."""

    def __init__(self, task_id: str) -> None:
        super().__init__(Code.TASK_NOT_FOUND, f"Task {task_id} not found")


class TaskForbidden(PuppyException):
    """The task is somebody else's."""

    def __init__(self, task_id: str) -> None:
        super().__init__(Code.TASK_REFUSED, f"Unauthorized access to task {task_id}")


@dataclass(frozen=True)
class Task:
    """A run of a document.

    Attributes:
        run: Its row, as it was when the task was found.
        outline: Its document, as reports know it.
    """

    engine: Engine
    run: RunView
    outline: Outline

    @classmethod
    def find(cls, engine: Engine, task_id: str, user_id: str | None = None) -> "Task":
        """Return a task.

        Args:
            engine: Where it is recorded.
            task_id: Its id.
            user_id: Who asks; None may see all tasks.

        Raises:
            TaskNotFound: there is none, or the run is not that of a document.
            TaskForbidden: it is somebody else's.
        """
        try:
            run_id = RunId(UUID(task_id))
        except ValueError:
            raise TaskNotFound(task_id) from None
        run = engine.records.autocommit(lambda tx: tx.runs.head(run_id))
        if run is None or not is_document(run):
            raise TaskNotFound(task_id)
        if user_id is not None and (run.user_id or LOCAL_USER) != user_id:
            raise TaskForbidden(task_id)
        spec = engine.definitions.shown(run_id).definition.spec
        return cls(engine, run, Outline.of(run.inputs, {step.key for step in spec.steps}))

    @property
    def id(self) -> RunId:
        """Its id, which is that of the run."""
        return self.run.id

    @property
    def user_id(self) -> str:
        """Whose task it is."""
        return self.run.user_id or LOCAL_USER

    def translator(self, *, with_blocks: bool = False) -> Translator:
        """Return what makes frames of the run's events, from the first on; see `Translator`."""
        threshold = self.engine.results.threshold_bytes
        return Translator(
            self.outline, self.id, self.user_id, threshold, self._load, with_blocks=with_blocks
        )

    def _load(self, key: str) -> Mapping[str, Any]:
        reference = Reference(key)
        returned: Mapping[str, Any] = lookup(self.engine, self.id, [reference])(reference)
        return returned

    def status(self) -> dict[str, Any]:
        """Return how the task stands, as `/task_status` answers."""
        marks = self.engine.records.autocommit(lambda tx: tx.steps.step_progress(self.id))
        return task_status(
            self.outline,
            str(self.id),
            _STATUS.get(self.run.status, "RUNNING"),
            times=(self.run.started_at, self.run.completed_at),
            error=_error(self.run),
            ended={one.key for one in marks if one.map_index is None and one.status in _ENDED},
        )


def is_document(run: RunView) -> bool:
    """Return whether a run is that of a document."""
    named = run.flow_name == "blocks" or run.flow_name.startswith("blocks:")
    return named and isinstance(run.inputs, dict) and {"blocks", "edges"} <= run.inputs.keys()


def _error(run: RunView) -> str | None:
    if run.status is RunState.FAILED:
        return plain_error(run.error)
    return cancelled(run.error) if run.status is RunState.CANCELLED else None
