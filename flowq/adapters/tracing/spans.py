"""Spans by OpenTelemetry, through its API: exporters and sampling are the user's.

Nothing is made while no tracer provider is configured. Attributes follow the semantic conventions
for messaging and for generative AI; their names are written out here, since the package that has
them marks both as not yet stable. No span has contents: no inputs, prompts, answers, or texts of
errors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

from flowq.core.usage import RequestStatus, Tokens
from flowq.engine.model.model_calls import Caller
from flowq.engine.model.rows import Claim
from flowq.engine.ports.tracing import TRACEPARENT, AttemptSpan, CallSpan, Tracing, trace_root

_propagator = TraceContextTextMapPropagator()


class OpenTelemetryTracing(Tracing):
    """Implements `flowq.engine.ports.tracing.Tracing`."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("flowq")

    @property
    @override
    def is_on(self) -> bool:
        return not isinstance(trace.get_tracer_provider(), ProxyTracerProvider)

    @override
    @contextmanager
    def submission(self, flow_name: str) -> Iterator[object]:
        attributes = {
            "messaging.system": "celery",
            "messaging.operation.name": "submit",
            "messaging.operation.type": "send",
            "messaging.destination.name": flow_name,
            "flowq.flow": flow_name,
        }
        with self._tracer.start_as_current_span(
            f"submit {flow_name}",
            kind=SpanKind.PRODUCER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as error:
                _fail(span, error)
                raise

    @override
    def current(self) -> str | None:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get(TRACEPARENT)

    @override
    @contextmanager
    def attempt(
        self, claim: Claim, *, step: str, flow: str, parent: str | None
    ) -> Iterator[AttemptSpan]:
        attributes: dict[str, Any] = {
            "messaging.system": "celery",
            "messaging.operation.name": "run",
            "messaging.operation.type": "process",
            "messaging.destination.name": step,
            "messaging.message.id": str(claim.id),
            "messaging.message.conversation_id": str(claim.run_id),
            "flowq.flow": flow,
            "flowq.step": claim.key,
            "flowq.attempt": claim.attempt,
        }
        if claim.map_index is not None:
            attributes["flowq.index"] = claim.map_index
        with self._tracer.start_as_current_span(
            f"run {step}",
            context=_context(claim, parent),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield _AttemptSpan(span)

    @override
    def model_call(self, caller: Caller, provider: str, model: str) -> CallSpan:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        if caller.run_id is not None:
            attributes["gen_ai.conversation.id"] = str(caller.run_id)
        span = self._tracer.start_span(f"chat {model}", kind=SpanKind.CLIENT, attributes=attributes)
        return _CallSpan(span)


class _AttemptSpan(AttemptSpan):
    def __init__(self, span: Span) -> None:
        self._span = span

    @override
    def end(self, ending: str, error: BaseException | None) -> None:
        self._span.set_attribute("flowq.ending", ending)
        if error is not None:
            _fail(self._span, error)


class _CallSpan(CallSpan):
    def __init__(self, span: Span) -> None:
        self._span = span

    @override
    def end(self, status: RequestStatus, tokens: Tokens) -> None:
        self._span.set_attribute("gen_ai.usage.input_tokens", tokens.input)
        self._span.set_attribute("gen_ai.usage.output_tokens", tokens.output)
        if tokens.cached:
            self._span.set_attribute("gen_ai.usage.cache_read.input_tokens", tokens.cached)
        if status is not RequestStatus.COMPLETED:
            self._span.set_attribute("error.type", status.value)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))


def _context(claim: Claim, parent: str | None) -> Context:
    found = _propagator.extract({TRACEPARENT: parent} if parent else {}, Context())
    if trace.get_current_span(found).get_span_context().is_valid:
        return found
    trace_id, span_id = trace_root(claim.run_id)
    flags = TraceFlags(TraceFlags.SAMPLED)
    root = SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(root), Context())
