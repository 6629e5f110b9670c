"""flowq: durable flows of LLM and data work on the Celery you already run.

The public names. Each is imported at first use, so that `import flowq` costs nothing and a module
of steps never loads Celery, SQLAlchemy or Redis. Code inside the package imports from the modules
themselves, never from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowq import errors
    from flowq.authoring.calls.refs import Ref, length
    from flowq.authoring.definitions.base_flow import BaseFlow
    from flowq.authoring.definitions.base_steps import BaseStep
    from flowq.authoring.definitions.caching import Cache
    from flowq.authoring.definitions.flows import AsyncFlow, Flow, flow
    from flowq.authoring.definitions.limiting import Concurrency, Rate
    from flowq.authoring.definitions.llm_steps import (
        ImageStep,
        NewsStep,
        StructuredStep,
        UnstructuredStep,
    )
    from flowq.authoring.definitions.steps import Step, step
    from flowq.authoring.durable import continue_as_new, now, random, signal, sleep, uuid
    from flowq.client import Run
    from flowq.core.limits.budgets import Budget
    from flowq.core.results import StepFailure
    from flowq.core.retries import RetryPolicy
    from flowq.engine.runtime.blocking import allow_waiting
    from flowq.entrypoints.worker import celery_app, install
    from flowq.llm.results import NewsItem, StepResult, StepType

    __version__: str

__all__ = [
    "AsyncFlow",
    "BaseFlow",
    "BaseStep",
    "Budget",
    "Cache",
    "Concurrency",
    "Flow",
    "ImageStep",
    "NewsItem",
    "NewsStep",
    "Rate",
    "Ref",
    "RetryPolicy",
    "Run",
    "Step",
    "StepFailure",
    "StepResult",
    "StepType",
    "StructuredStep",
    "UnstructuredStep",
    "__version__",
    "allow_waiting",
    "celery_app",
    "continue_as_new",
    "errors",
    "flow",
    "install",
    "length",
    "now",
    "random",
    "signal",
    "sleep",
    "step",
    "uuid",
]

_HOMES = {
    "AsyncFlow": "flowq.authoring.definitions.flows",
    "BaseFlow": "flowq.authoring.definitions.base_flow",
    "BaseStep": "flowq.authoring.definitions.base_steps",
    "Budget": "flowq.core.limits.budgets",
    "Cache": "flowq.authoring.definitions.caching",
    "Concurrency": "flowq.authoring.definitions.limiting",
    "Flow": "flowq.authoring.definitions.flows",
    "ImageStep": "flowq.authoring.definitions.llm_steps",
    "NewsItem": "flowq.llm.results",
    "NewsStep": "flowq.authoring.definitions.llm_steps",
    "Rate": "flowq.authoring.definitions.limiting",
    "Ref": "flowq.authoring.calls.refs",
    "RetryPolicy": "flowq.core.retries",
    "Run": "flowq.client",
    "Step": "flowq.authoring.definitions.steps",
    "StepFailure": "flowq.core.results",
    "StepResult": "flowq.llm.results",
    "StepType": "flowq.llm.results",
    "StructuredStep": "flowq.authoring.definitions.llm_steps",
    "UnstructuredStep": "flowq.authoring.definitions.llm_steps",
    "allow_waiting": "flowq.engine.runtime.blocking",
    "celery_app": "flowq.entrypoints.worker",
    "continue_as_new": "flowq.authoring.durable",
    "flow": "flowq.authoring.definitions.flows",
    "install": "flowq.entrypoints.worker",
    "length": "flowq.authoring.calls.refs",
    "now": "flowq.authoring.durable",
    "random": "flowq.authoring.durable",
    "signal": "flowq.authoring.durable",
    "sleep": "flowq.authoring.durable",
    "step": "flowq.authoring.definitions.steps",
    "uuid": "flowq.authoring.durable",
}


def __getattr__(name: str) -> Any:
    """Import a public name at first use (PEP 562)."""
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("flowq")
    elif name == "errors":
        value = import_module("flowq.errors")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'flowq' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
