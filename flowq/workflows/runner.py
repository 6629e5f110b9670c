"""Runs workflows: here and now, or on workers. Both are runs of flowq as any other.

A workflow is checked and compiled before anything is recorded. The document is an
input of the run, so that any process can show its states by the ids of the steps.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Unpack

from flowq import bootstrap
from flowq.client import Run
from flowq.client.submitting import carry_out
from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.registry.registry import registry as steps
from flowq.engine.runs import submission
from flowq.engine.runs.options import SubmitOptions
from flowq.workflows.checking import check
from flowq.workflows.compiling import compile_workflow
from flowq.workflows.context import FACE, RuntimeContext
from flowq.workflows.document.problems import InvalidWorkflow, Problem
from flowq.workflows.document.references import is_stored
from flowq.workflows.results import WorkflowResult, preview_of
from flowq.workflows.steps.step_types import StepRegistry, registry
from flowq.workflows.workflow import Workflow


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A run that is ready to be submitted."""

    flow: RegisteredFlow
    inputs: Mapping[str, Any]
    options: dict[str, Any]


class WorkflowRunner:
    """Runs workflows.

    Args:
        context: Where references to stored values lead to; also says whose runs these are.
        types: The step types; those of `@step_type` when left out.
    """

    def __init__(
        self, context: RuntimeContext | None = None, *, types: StepRegistry = registry
    ) -> None:
        self.context = context or RuntimeContext()
        self._types = types

    def run(
        self,
        workflow: Workflow,
        inputs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        raise_on_error: bool = False,
    ) -> WorkflowResult:
        """Carry out a workflow in threads of this process, and wait for it.

        The failure of a step is in the result. Inputs may be values of any size, or references.

        Args:
            workflow: The workflow.
            inputs: Its inputs by name.
            timeout: Seconds after which the run is stopped and fails.
            raise_on_error: Raise when it has not completed.

        Raises:
            InvalidWorkflow: it cannot run; nothing was recorded.
            RuntimeError: with `raise_on_error`, if a step has failed.
        """
        engine = bootstrap.engine_here()[0]
        prepared = self._prepare(engine, workflow, inputs or {})
        if timeout is not None:
            prepared.options["deadline"] = timedelta(seconds=timeout)
        run, _ = carry_out(prepared.flow, prepared.inputs, **prepared.options)
        result = WorkflowResult.of(run)
        result.log()
        if raise_on_error:
            result.raise_on_error()
        return result

    async def run_async(
        self, workflow: Workflow, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> WorkflowResult:
        """Like `run`, without blocking the event loop."""
        return await asyncio.to_thread(partial(self.run, workflow, inputs, **options))

    def enqueue(
        self,
        workflow: Workflow,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Run[dict[str, Any]]:
        """Start a run on workers; `WorkflowResult.of(run)` shows what becomes of it.

        Args:
            workflow: The workflow.
            inputs: Its inputs by name.
            options: As of `my_flow.enqueue`: `user_id`, `idempotency_key`, `deadline`, `budget`, …

        Raises:
            InvalidWorkflow: it cannot run; nothing was recorded.
            InvalidInput: an option does not fit.
            DatabaseUnavailable: the run could not be recorded.
        """
        engine = self.context.engine
        if self.context.own_engine is None:
            bootstrap.refuse_eager()
        prepared = self._prepare(engine, workflow, inputs or {})
        given: Any = {**prepared.options, **options}
        metadata = {**(options.get("metadata") or {}), **prepared.options["metadata"]}
        run_id = submission.submit(
            engine, prepared.flow, prepared.inputs, **(given | {"metadata": metadata})
        )
        return Run(run_id, prepared.flow.name)

    def _prepare(self, engine: Engine, workflow: Workflow, inputs: Mapping[str, Any]) -> _Prepared:
        steps.check_steps()
        run_id = RunId(engine.new_id())
        checked = check(workflow, inputs, self._types)
        compiled = compile_workflow(
            workflow,
            checked,
            inputs,
            queues=bootstrap.settings().strategy_queues,
            scope=str(run_id),
        )
        values = {name: self._value(value, name) for name, value in compiled.values.items()}
        values |= {name: self._value(value, name) for name, value in compiled.references.items()}
        spec = compiled.spec
        shown = {
            name: value if is_stored(value) else preview_of(value) for name, value in inputs.items()
        }
        return _Prepared(
            RegisteredFlow(spec.name, trace=lambda _: spec, validate=lambda given: given),
            {"workflow": workflow.to_dict(), "inputs": shown},
            {
                "run_id": run_id,
                "values": values,
                "metadata": {"face": FACE},
                "user_id": self.context.user_id,
            },
        )

    def _value(self, value: Any, name: str) -> Any:
        """Return a given value: what is stored under a reference, or the value itself."""
        if not is_stored(value):
            return value
        try:
            return self.context.get(value)
        except ValueError as error:
            raise InvalidWorkflow([Problem(str(error), name)]) from error
