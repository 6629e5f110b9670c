"""The span of a submission, and its context in the spec of the run."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from flowq.core.spec import FlowSpec
from flowq.engine.engine import Engine
from flowq.engine.ports.tracing import active
from flowq.engine.registry.registry import RegisteredFlow

P = ParamSpec("P")
R = TypeVar("R")


def spanned(
    submit: Callable[Concatenate[Engine, RegisteredFlow, P], R],
) -> Callable[Concatenate[Engine, RegisteredFlow, P], R]:
    """Put a span around a function that submits runs of a flow."""

    @wraps(submit)
    def within(engine: Engine, flow: RegisteredFlow, /, *args: P.args, **kwargs: P.kwargs) -> R:
        tracing = active(engine.tracing)
        if tracing is None:
            return submit(engine, flow, *args, **kwargs)
        with tracing.submission(flow.name):
            return submit(engine, flow, *args, **kwargs)

    return within


def with_context(engine: Engine, spec: FlowSpec) -> FlowSpec:
    """Return a spec with the context of the span of its submission, if there is one.

    That of an earlier run, whose spec is used again, is not kept.
    """
    tracing = active(engine.tracing)
    context = tracing.current() if tracing is not None else None
    if context == spec.traceparent:
        return spec
    return spec.model_copy(update={"traceparent": context})
