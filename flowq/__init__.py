"""flowq: durable flows of LLM and data work on the Celery you already run.

The public names. Each is imported at first use, so that `import flowq` costs nothing and a module
of steps never loads Celery, SQLAlchemy or Redis. Code inside the package imports from the modules
themselves, never from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowq.lazy import public_names

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
    from flowq.authoring.definitions.middleware import use
    from flowq.authoring.definitions.schedules import schedule
    from flowq.authoring.definitions.steps import Step, step
    from flowq.authoring.durable import continue_as_new, now, random, signal, sleep, uuid
    from flowq.client import Run
    from flowq.client.acting import acting
    from flowq.core.limits.budgets import Budget
    from flowq.core.results import StepFailure
    from flowq.core.retries import RetryPolicy
    from flowq.engine.replay import LazyResult
    from flowq.engine.runtime.blocking import allow_waiting
    from flowq.engine.runtime.context import StepContext
    from flowq.engine.runtime.middleware import StepCall
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
    "LazyResult",
    "NewsItem",
    "NewsStep",
    "Rate",
    "Ref",
    "RetryPolicy",
    "Run",
    "Step",
    "StepCall",
    "StepContext",
    "StepFailure",
    "StepResult",
    "StepType",
    "StructuredStep",
    "UnstructuredStep",
    "__version__",
    "acting",
    "allow_waiting",
    "celery_app",
    "continue_as_new",
    "errors",
    "flow",
    "install",
    "length",
    "now",
    "random",
    "schedule",
    "signal",
    "sleep",
    "step",
    "use",
    "uuid",
]

_HOMES = {
    "flowq.authoring.calls.refs": "Ref length",
    "flowq.authoring.definitions.base_flow": "BaseFlow",
    "flowq.authoring.definitions.base_steps": "BaseStep",
    "flowq.authoring.definitions.caching": "Cache",
    "flowq.authoring.definitions.flows": "AsyncFlow Flow flow",
    "flowq.authoring.definitions.limiting": "Concurrency Rate",
    "flowq.authoring.definitions.llm_steps": "ImageStep NewsStep StructuredStep UnstructuredStep",
    "flowq.authoring.definitions.middleware": "use",
    "flowq.authoring.definitions.schedules": "schedule",
    "flowq.authoring.definitions.steps": "Step step",
    "flowq.authoring.durable": "continue_as_new now random signal sleep uuid",
    "flowq.client": "Run",
    "flowq.client.acting": "acting",
    "flowq.core.limits.budgets": "Budget",
    "flowq.core.results": "StepFailure",
    "flowq.core.retries": "RetryPolicy",
    "flowq.engine.replay": "LazyResult",
    "flowq.engine.runtime.blocking": "allow_waiting",
    "flowq.engine.runtime.context": "StepContext",
    "flowq.engine.runtime.middleware": "StepCall",
    "flowq.entrypoints.worker": "celery_app install",
    "flowq.llm.results": "NewsItem StepResult StepType",
}
_public_name, _names = public_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name at first use."""
    if name == "__version__":
        return import_module("importlib.metadata").version("flowq")
    return import_module("flowq.errors") if name == "errors" else _public_name(name)


def __dir__() -> list[str]:
    return sorted({*_names(), *__all__})
