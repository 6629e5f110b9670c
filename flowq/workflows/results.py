"""What has become of the run of a workflow, read from its rows: `WorkflowResult`.

The nodes of a step (`id::rows`, `id`, `id::joined`) are shown as one step, in the states that front
ends know: pending, running, completed, failed. A run that was allowed to continue after a failed
step has failed all the same.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from pydantic_core import to_jsonable_python

from flowq import bootstrap
from flowq.client import Run
from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.core.states import RunState, StepState
from flowq.engine.engine import Engine
from flowq.engine.model.rows import RunView, StepView, StoredStep
from flowq.workflows.compiling import is_flow, value_key
from flowq.workflows.context import load, reference_of
from flowq.workflows.document.references import INNER

logger = logging.getLogger(__name__)

_MOST_SHOWN: Final = 200
#: A value with more bytes is described without being loaded.
_MOST_LOADED: Final = 65_536
_RUN_STATES: Final = {
    RunState.PENDING: "pending",
    RunState.COMPLETED: "completed",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
}
_BEGUN: Final = (StepState.RUNNING, StepState.COMPLETED)


@dataclass(frozen=True)
class StepReport:
    """A step of a workflow as people see it.

    Attributes:
        id: Its id in the workflow.
        status: `pending`, `running`, `completed` or `failed`.
        error: `ValueError: no`, if it has failed.
        traceback: Where that was raised, without frames of flowq.
        ref: The reference of its value, if it has completed.
        started_at: When its first attempt began.
        execution_time_ms: How long its code ran, in all attempts.
    """

    id: str
    status: str
    error: str | None = None
    traceback: str | None = None
    ref: str | None = None
    started_at: datetime | None = None
    execution_time_ms: int | None = None
    _result: "WorkflowResult | None" = field(default=None, repr=False, compare=False)

    @cached_property
    def preview(self) -> str | None:
        """The beginning of its value as text; loaded when it is asked for, if it is small."""
        if self._result is None or self.ref is None:
            return None
        return self._result.preview(self.id)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON data, without a preview."""
        return {
            "id": self.id,
            "status": self.status,
            "error": self.error,
            "traceback": self.traceback,
            "ref": self.ref,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "execution_time_ms": self.execution_time_ms,
        }


@dataclass(frozen=True)
class WorkflowResult:
    """What has become of the run of a workflow, as it was when it was read.

    Attributes:
        run_id: The run.
        status: `pending`, `running`, `completed`, `failed` or `cancelled`.
        error: Why the run has failed or was cancelled.
        steps: Its steps, in the order of the workflow.
    """

    run_id: RunId
    status: str
    error: str | None
    steps: Sequence[StepReport]
    _engine: Engine = field(repr=False, compare=False)

    @classmethod
    def of(cls, run: Run[Any] | UUID | str, *, engine: Engine | None = None) -> "WorkflowResult":
        """Return what has become of a run so far.

        Args:
            run: The run, or its id.
            engine: Where it is recorded; else the engine of this process.

        Raises:
            RunNotFound: there is none, or it is not that of a workflow.
        """
        engine = engine or bootstrap.engine()
        try:
            run_id = RunId(run.id if isinstance(run, Run) else UUID(str(run)))
        except ValueError:
            raise RunNotFound(f"no run has the id {run}", hint="flowq runs ls") from None
        view = engine.records.autocommit(lambda tx: tx.runs.view(run_id))
        if view is None:
            raise RunNotFound.of(run_id)
        if not is_flow(view.flow_name) or not _has_document(view.inputs):
            raise RunNotFound(f"run {run_id} is not that of a workflow", hint="flowq runs ls")
        return _read(engine, view)

    @property
    def outputs(self) -> dict[str, str]:
        """The references of the values of the steps that have completed, by their ids."""
        return {one.id: one.ref for one in self.steps if one.ref is not None}

    def value(self, step: str) -> Any:
        """Return the value of a step.

        Raises:
            ValueError: there is no such step, or it has not completed.
            ResultMissing: its object is missing in the store.
        """
        return load(self._engine, self.run_id, step, reference_of(self.run_id, step))

    def preview(self, step: str) -> str:
        """Return the beginning of the value of a step as text."""
        keys = self._engine.definitions.get(self.run_id).definition.spec.by_key
        row = self._engine.records.autocommit(
            lambda tx: tx.steps.stored(self.run_id, [value_key(keys, step)])
        )[0]
        if row.result is not None and row.result.size > _MOST_LOADED:
            rows = f", {row.result.length:,} items" if row.result.length is not None else ""
            return f"{row.result.media_type}, {row.result.size:,} bytes{rows}"
        return preview_of(self.value(step))

    def raise_on_error(self) -> None:
        """Raise if a step has failed, or the run was stopped.

        Raises:
            RuntimeError: with the step type and the error.
        """
        if self.status == "completed":
            return
        failed = next((one for one in self.steps if one.status == "failed"), None)
        if failed is None:
            raise RuntimeError(f"Error executing workflow: {self.error or self.status}")
        slug = self._slugs.get(failed.id, failed.id)
        raise RuntimeError(f"Error executing step {slug}: {failed.error}")

    @property
    def _slugs(self) -> Mapping[str, str]:
        spec = self._engine.definitions.get(self.run_id).definition.spec
        return {step.key: step.name.removesuffix(":rows") for step in spec.steps}

    def to_json(self) -> dict[str, Any]:
        """Return what is known as JSON data, without values."""
        return {
            "run_id": str(self.run_id),
            "status": self.status,
            "error": self.error,
            "steps": [one.to_json() for one in self.steps],
            "outputs": self.outputs,
        }

    def log(self) -> None:
        """Write a line for each step to the log."""
        for one in self.steps:
            said = f": {one.error}" if one.error else ""
            time = f" in {one.execution_time_ms} ms" if one.execution_time_ms is not None else ""
            level = logging.ERROR if one.status == "failed" else logging.INFO
            logger.log(
                level, "step %s of run %s %s%s%s", one.id, self.run_id, one.status, time, said
            )


def preview_of(value: Any) -> str:
    """Return the beginning of a value as text: JSON where that is possible."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} {' x '.join(map(str, shape))}"
    try:
        text = json.dumps(to_jsonable_python(value, fallback=repr), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _has_document(inputs: Any) -> bool:
    """Return whether inputs are those of a workflow: a flow in Python may have such a name too."""
    document = inputs.get("workflow") if isinstance(inputs, Mapping) else None
    return isinstance(document, Mapping) and isinstance(document.get("steps"), list)


def _read(engine: Engine, view: RunView) -> WorkflowResult:
    ids = [str(step["id"]) for step in view.inputs["workflow"]["steps"]]
    nodes: dict[str, list[StepView]] = {}
    for step in sorted(view.steps, key=lambda step: step.order):
        nodes.setdefault(step.key.partition(INNER)[0], []).append(step)
    reports: list[StepReport] = []
    status = _RUN_STATES.get(view.status, "running")
    result = WorkflowResult(view.id, status, view.error, reports, engine)
    reports.extend(_report(result, name, nodes.get(name, ())) for name in ids)
    failed = next((one for one in reports if one.status == "failed"), None)
    if status == "completed" and failed is not None:
        object.__setattr__(result, "status", "failed")
        object.__setattr__(result, "error", f"step {failed.id!r} failed: {failed.error}")
    return result


def _report(result: WorkflowResult, name: str, nodes: Sequence[StepView]) -> StepReport:
    status = _status(nodes)
    failed = next((one for one in nodes if one.status is StepState.FAILED), None)
    error, traceback = (None, None) if failed is None else _error(result, failed)
    times = [one.execution_time_ms for one in nodes if one.execution_time_ms is not None]
    return StepReport(
        name,
        status,
        error,
        traceback,
        reference_of(result.run_id, name) if status == "completed" else None,
        min((one.started_at for one in nodes if one.started_at is not None), default=None),
        sum(times) if times else None,
        result,
    )


def _status(nodes: Sequence[StepView]) -> str:
    states = [one.status for one in nodes]
    if StepState.FAILED in states:
        return "failed"
    if all(state in (StepState.COMPLETED, StepState.SKIPPED) for state in states):
        return "completed"
    open_ = any(state not in (StepState.CANCELLED, StepState.SKIPPED) for state in states)
    return "running" if open_ and any(state in _BEGUN for state in states) else "pending"


def _error(result: WorkflowResult, failed: StepView) -> tuple[str, str | None]:
    """Return the error of a failed node, and where it was raised; of a map, those of an item."""
    kind, message, metadata = failed.error_type, failed.error_message, failed.metadata
    if failed.map_size is not None:
        item: StoredStep | None = result._engine.records.autocommit(  # noqa: SLF001 - this module's
            lambda tx: tx.steps.first_failed_item(result.run_id, failed.key)
        )
        if item is not None:
            unit = "part" if failed.name.endswith(":rows") else "row"
            kind, message = item.error_type, f"{item.error_message} ({unit} {item.map_index})"
            metadata = item.metadata or {}
    text = f"{kind}: {message}" if kind else str(message or "it has failed")
    return text, metadata.get("traceback")
