"""Tasks: the runs of documents, as their clients know them.

Nothing of a task is in a process: it is found by its id in the rows, and what clients see of it is
made from its events and its rows, by every process in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from flowq.blocks import names
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
    """A run of a document; its row and its document are read when they are asked for.

    Attributes:
        id: Its id, which is that of the run.
        flow_name: The name of the run's flow.
        user_id: Whose task it is.
    """

    engine: Engine
    id: RunId
    flow_name: str
    user_id: str

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
        known = engine.records.autocommit(lambda tx: tx.runs.stand_in(run_id))
        if known is None or not names.is_flow(known.flow_name):
            raise TaskNotFound(task_id)
        owner = known.user_id or LOCAL_USER
        if user_id is not None and owner != user_id:
            raise TaskForbidden(task_id)
        steps = engine.definitions.shown(run_id).definition.spec.steps
        if steps and not names.is_step(steps[0].name):
            raise TaskNotFound(task_id)
        return cls(engine, run_id, known.flow_name, owner)

    @cached_property
    def run(self) -> RunView:
        """Its row, as it was when it was first asked for.

        Raises:
            TaskNotFound: it was deleted, or is that of a flow with such a name.
        """
        run = self.engine.records.autocommit(lambda tx: tx.runs.head(self.id))
        if run is None or not isinstance(run.inputs, dict) or "edges" not in run.inputs:
            raise TaskNotFound(str(self.id))
        return run

    @cached_property
    def outline(self) -> Outline:
        """Its document, as reports know it; raises as `run`."""
        spec = self.engine.definitions.shown(self.id).definition.spec
        return Outline.of(self.run.inputs, {step.key for step in spec.steps})

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
        """Return the status of the task, as `/task_status` answers."""
        marks = self.engine.records.autocommit(lambda tx: tx.steps.step_progress(self.id))
        return task_status(
            self.outline,
            str(self.id),
            _STATUS.get(self.run.status, "RUNNING"),
            times=(self.run.started_at, self.run.completed_at),
            error=_error(self.run),
            ended={one.key for one in marks if one.map_index is None and one.status in _ENDED},
        )


def _error(run: RunView) -> str | None:
    if run.status is RunState.FAILED:
        return plain_error(run.error)
    return cancelled(run.error) if run.status is RunState.CANCELLED else None
