"""`WorkflowBuilder`: makes a workflow in Python, checked step by step."""

from collections.abc import Mapping
from typing import Any, Self

from flowq.core.errors import InvalidFlow
from flowq.workflows.checking import check
from flowq.workflows.document.models import Step
from flowq.workflows.document.problems import meant
from flowq.workflows.document.references import source_of
from flowq.workflows.steps.step_types import StepRegistry, registry
from flowq.workflows.workflow import Workflow


class WorkflowBuilder:
    """Adds steps one after the other.

    Args:
        name: The name of the workflow, and its id unless one is given.
        id: Its id.
        parallel: Whether steps wait only for those whose results they use.
        meta: Data of a front end.
        types: The known step types.
    """

    def __init__(
        self,
        name: str,
        *,
        id: str | None = None,  # noqa: A002 - the name in the document
        parallel: bool = False,
        meta: Mapping[str, Any] | None = None,
        types: StepRegistry = registry,
    ) -> None:
        self._head = {"id": id or name, "name": name, "parallel": parallel, "meta": meta or {}}
        self._steps: dict[str, dict[str, Any]] = {}
        self._types = types

    def add_step(
        self,
        type_slug: str,
        id: str | None = None,  # noqa: A002 - the name in the document
        *,
        config: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Self:
        """Add a step after the ones so far; the first data parameter gets the value of the last.

        Args:
            type_slug: The slug of its step type.
            id: Its id; the slug when left out, with a number if that is taken.
            config: Values of its parameters.
            inputs: What its data parameters refer to.
            fields: Others of a step: `execution_strategy`, `on_error`, `label`, `meta`, …

        Raises:
            StepTypeNotFound: there is no such step type.
            InvalidFlow: the id is taken, an input refers to no step so far, or a field is unknown.
        """
        kind = self._types.get(type_slug)
        unknown = next((one for one in fields if one not in Step.model_fields), None)
        if unknown is not None:
            near = meant(unknown, Step.model_fields)
            raise InvalidFlow(f"a step has no field {unknown!r}", hint=f"{near} or use meta=")
        name = self._free(type_slug) if id is None else id
        if name in self._steps:
            raise InvalidFlow(f"two steps have the id {name!r}", hint="give one another id")
        given = dict(inputs or {})
        for parameter, value in given.items():
            try:
                source_of(value, self._steps)
            except ValueError as error:
                known = meant(str(value), self._steps)
                raise InvalidFlow(
                    f"step {name!r}: {value!r} is not defined, for {parameter!r}: {error}",
                    hint=known,
                ) from None
        if self._steps and kind.inputs and kind.inputs[0] not in given:
            given = {kind.inputs[0]: next(reversed(self._steps)), **given}
        step = {"id": name, "type_slug": type_slug, "config": dict(config or {}), "inputs": given}
        self._steps[name] = {**step, **fields}
        return self

    def build(self) -> Workflow:
        """Return the workflow.

        Raises:
            InvalidWorkflow: it cannot run, with all problems.
        """
        workflow = Workflow.of({**self._head, "steps": list(self._steps.values())})
        check(workflow, None, self._types)
        return workflow

    def _free(self, slug: str) -> str:
        names = (slug, *(f"{slug}-{number}" for number in range(2, len(self._steps) + 3)))
        return next(name for name in names if name not in self._steps)
