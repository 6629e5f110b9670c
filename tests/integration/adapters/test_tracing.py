"""All spans of a run are in one trace, whoever makes them; without a provider there are none."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from flowq import RetryPolicy, flow, step
from flowq.adapters.tracing.opening import open_tracing
from flowq.core.ids import child_run_id, node_id
from flowq.core.states import RunState
from flowq.core.usage import CostStatus, RequestStatus, Tokens
from flowq.engine.ports.tracing import message_headers
from tests.tools.playing import Stage
from tests.tools.tracing.spans import spans_in_memory, tree


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    with spans_in_memory() as exporter:
        yield exporter


@pytest.fixture
def traced(stage: Stage) -> Iterator[Stage]:
    engine = replace(stage.engine, tracing=open_tracing())
    yield replace(stage, engine=engine)
    engine.program_cache.clear()


@step
async def ask(text: str) -> str:
    calls = step.context().model_calls
    assert calls is not None
    call = calls.start(await calls.admit("openai", "gpt-5"), "openai", "gpt-5")
    await call.recorded
    await call.end(RequestStatus.COMPLETED, tokens=Tokens(7, 3, 2), cost_status=CostStatus.UNBILLED)
    return text


@step(retry=RetryPolicy(max_attempts=2, initial_delay=0))
def flaky(text: str) -> str:
    if step.context().attempt == 1:
        raise ValueError("s3cret")
    trace.get_tracer("user").start_span("own").end()
    return text


@flow(name="tests.traced.inner")
def inner(text: str) -> str:
    return flaky(text)


@flow(name="tests.traced.outer")
def outer(text: str) -> Any:
    return [inner(ask(text)), ask.map([text, text])]


@flow(name="tests.traced.program")
async def program(text: str) -> Any:
    calls: list[Any] = [ask(text), inner(text)]
    return list(await asyncio.gather(*calls))


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


@pytest.mark.parametrize("which", [outer, program], ids=["graph", "program"])
def test_run_is_one_trace_with_its_child_runs(
    traced: Stage, exporter: InMemorySpanExporter, which: Any
) -> None:
    with trace.get_tracer("user").start_as_current_span("request") as request:
        played = traced.play(which, text="a")
    assert played.status is RunState.COMPLETED, played.error

    spans = exporter.get_finished_spans()
    assert {span.context.trace_id for span in spans if span.context} == {
        request.get_span_context().trace_id
    }
    found = tree(spans)
    assert found[0] == "request"
    assert found[1] == f"  submit {which.type.name}"
    names = [name.strip() for name in found]
    assert names.count(f"run {flaky.type.name}") == 2
    assert names.count("own") == 1
    assert names.count("chat gpt-5") == (3 if which is outer else 1)
    assert names.count("submit tests.traced.inner") == 1


def test_spans_say_what_the_conventions_name(traced: Stage, exporter: InMemorySpanExporter) -> None:
    played = traced.play(outer, text="a")

    [call, *_] = named(exporter, "chat gpt-5")
    assert dict(call.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.conversation.id": str(played.id),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 2,
    }
    attempts = named(exporter, f"run {flaky.type.name}")
    failed, completed = sorted(attempts, key=lambda span: span.start_time or 0)
    told = dict(failed.attributes or {})
    assert told["error.type"] == "ValueError"
    assert (told["flowq.attempt"], told["flowq.ending"]) == (1, "retrying")
    assert (failed.status.status_code, completed.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    assert told["messaging.operation.type"] == "process"
    child = child_run_id(node_id(played.id, "inner"))
    assert told["messaging.message.id"] == str(node_id(child, "flaky"))
    assert told["messaging.message.conversation_id"] == str(child)
    assert not any("s3cret" in span.to_json() for span in exporter.get_finished_spans())


def test_run_that_was_submitted_without_tracing_has_one_trace_too(
    traced: Stage, stage: Stage, exporter: InMemorySpanExporter
) -> None:
    """Whichever workers run it, and although nothing was stored."""
    played = stage.submit(program, {"text": "a"})
    assert exporter.get_finished_spans() == ()
    traced.dispatcher.run(traced.engine)

    assert played.status is RunState.COMPLETED
    ids = {span.context.trace_id for span in exporter.get_finished_spans() if span.context}
    assert ids == {played.id.int}


def test_messages_carry_the_current_span(traced: Stage, exporter: InMemorySpanExporter) -> None:
    tracing = traced.engine.tracing
    assert message_headers(tracing) == {}
    with trace.get_tracer("user").start_as_current_span("sender") as span:
        headers = message_headers(tracing)

    context = span.get_span_context()
    assert headers == {
        "traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}"
        f"-{context.trace_flags:02x}"
    }


def test_nothing_is_made_without_a_provider(traced: Stage) -> None:
    assert traced.engine.tracing is not None
    assert not traced.engine.tracing.is_on
    played = traced.play(inner, text="a")

    assert played.status is RunState.COMPLETED
    spec = traced.engine.definitions.get(played.id).definition.spec
    assert spec.traceparent is None
    assert "traceparent" not in spec.to_json()
    assert message_headers(traced.engine.tracing) == {}
