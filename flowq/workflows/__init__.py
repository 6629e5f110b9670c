"""Workflows as JSON: step types with forms, steps in a list, compiled to a `FlowSpec`.

The public names. Each is imported when it is first asked for, so that a module of step types loads
neither Celery nor a database. `Step` and `StepType` are others than `flowq.Step` and
`flowq.StepType`: the glossary (`flowq docs glossary`) says which is which.
"""

from typing import TYPE_CHECKING

from flowq.lazy import public_names

if TYPE_CHECKING:
    from flowq.workflows.builder import WorkflowBuilder
    from flowq.workflows.context import RuntimeContext
    from flowq.workflows.document.models import Step
    from flowq.workflows.document.problems import (
        InvalidWorkflow,
        RegistryFrozenError,
        StepTypeNotFound,
    )
    from flowq.workflows.results import StepReport, WorkflowResult
    from flowq.workflows.runner import WorkflowRunner
    from flowq.workflows.steps.declaring import step_type
    from flowq.workflows.steps.step_types import StepRegistry, StepType, registry
    from flowq.workflows.workflow import Workflow

__all__ = [
    "InvalidWorkflow",
    "RegistryFrozenError",
    "RuntimeContext",
    "Step",
    "StepRegistry",
    "StepReport",
    "StepType",
    "StepTypeNotFound",
    "Workflow",
    "WorkflowBuilder",
    "WorkflowResult",
    "WorkflowRunner",
    "registry",
    "step_type",
]

__getattr__, __dir__ = public_names(
    __name__,
    {
        "flowq.workflows.builder": "WorkflowBuilder",
        "flowq.workflows.context": "RuntimeContext",
        "flowq.workflows.steps.declaring": "step_type",
        "flowq.workflows.document.models": "Step",
        "flowq.workflows.document.problems": "InvalidWorkflow RegistryFrozenError StepTypeNotFound",
        "flowq.workflows.results": "StepReport WorkflowResult",
        "flowq.workflows.runner": "WorkflowRunner",
        "flowq.workflows.steps.step_types": "StepRegistry StepType registry",
        "flowq.workflows.workflow": "Workflow",
    },
)
