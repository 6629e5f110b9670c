"""Spans that are kept in memory, as a tree in text."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@contextmanager
def spans_in_memory() -> Iterator[InMemorySpanExporter]:
    """Export the spans of this process to memory; afterwards no provider is configured."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider  # set_tracer_provider can be called once in a process
    try:
        yield exporter
    finally:
        trace._TRACER_PROVIDER = before
        provider.shutdown()


def tree(spans: Sequence[ReadableSpan]) -> list[str]:
    """Return the spans of a trace by name, each indented below its parent, in order of time."""
    known = {span.context.span_id for span in spans if span.context}
    ordered = sorted(spans, key=lambda span: span.start_time or 0)

    def below(parent: int | None, depth: int) -> Iterator[str]:
        for span in ordered:
            own = span.parent.span_id if span.parent and span.parent.span_id in known else None
            if own == parent and span.context:
                yield "  " * depth + span.name
                yield from below(span.context.span_id, depth + 1)

    return list(below(None, 0))
