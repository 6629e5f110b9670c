"""Steps that call models, in flows: results, records, totals, retries."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from flowq import StepResult, flow, step
from flowq.adapters.events.memory import MemoryEvents
from flowq.core.errors import DatabaseUnavailable, StepFailed
from flowq.core.events import WorkflowCompleted, WorkflowError
from flowq.core.states import RunState, StepState
from flowq.core.usage import CostStatus, RequestStatus
from flowq.engine.engine import Policies
from flowq.engine.events.follow import follow
from flowq.engine.model.model_calls import RequestView
from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools.faults.points import injected
from tests.tools.live_pages import shown_anew, shown_live
from tests.tools.llm_steps import (
    Article,
    Ask,
    NativeArticle,
    Picture,
    Stream,
    Summarise,
    text_of,
    tokens_of,
)
from tests.tools.playing import Played, Stage

pytestmark = pytest.mark.usefixtures("fake_llm")


def requests(played: Played) -> list[RequestView]:
    return played.stage.records.autocommit(lambda tx: tx.llm_requests.of_run(played.id))


@step
def headline(title: str, article: StepResult[Article.Outputs]) -> str:
    assert isinstance(article.output_content, Article.Outputs)
    return f"{title.upper()} ({len(article.output_content.points)})"


@flow(name="tests.llm.publish")
def publish(text: str) -> Any:
    summary = Summarise()(text=text)
    article: Any = Article().execute({"text": summary.output_content})
    return {
        "headline": headline(article.output_content.title, article),
        "words": article.output_content.words,
        "model": article.metadata.model,
    }


def test_results_go_from_step_to_step(stage: Stage, fake_llm: FakeLlm) -> None:
    played = stage.play(publish, text="a long story")

    said = text_of("Summarise this: a long story")
    title = f"title of {f'Summarise this: {said}'[:40]!r}"
    assert {"headline": f"{title.upper()} (2)", "words": 0, "model": "fake"} == played.result()
    assert 2 == fake_llm.stats.calls
    assert 2 == fake_llm.stats.answered


def test_calls_are_recorded_with_what_they_cost(stage: Stage, fake_llm: FakeLlm) -> None:
    @flow(name="tests.llm.recorded")
    def recorded() -> Any:
        return Ask()(question="why")

    played = stage.play(recorded)

    [request] = requests(played)
    read, written = tokens_of("Be brief.") + tokens_of("why"), tokens_of(text_of("why"))
    assert RequestStatus.COMPLETED is request.status
    assert ("openai", "fake", 1) == (request.provider, request.model, request.attempt)
    assert (read, written) == (request.tokens.input, request.tokens.output)
    assert Decimal(read) / 1000 + Decimal(written) / 500 == request.cost
    assert CostStatus.KNOWN is request.cost_status
    assert (fake_llm.stats.input_tokens, fake_llm.stats.output_tokens) == (read, written)

    view = played.step("tests_ask")
    assert (read + written, request.cost) == (view.tokens, view.cost)
    assert (view.tokens, view.cost) == (played.view.tokens, played.view.cost)
    metadata = played.result()["metadata"]
    assert read + written == metadata["tokens_used"]
    assert float(request.cost) == metadata["cost_estimate"]
    assert str(request.id) == metadata["llm_request_id"]
    assert ("openai", "fake", "unstructured_llm", "ask.txt") == tuple(
        metadata[name] for name in ("provider", "model", "step_type", "prompt_file")
    )


def test_each_request_has_the_id_of_its_row(stage: Stage, fake_llm: FakeLlm) -> None:
    @flow(name="tests.llm.named")
    def named() -> Any:
        article = Article(model="openai:fake-wrongx1")(text="a")
        return [Ask()(question="b"), Stream()(question="c"), Picture()(prompt="d"), article]

    played = stage.play(named)

    made = {str(one.id): (one.tokens.input, one.tokens.output) for one in requests(played)}
    assert 5 == len(made)
    assert made == fake_llm.stats.bill


def test_totals_of_an_ended_run_are_the_sums(stage: Stage) -> None:
    @flow(name="tests.llm.many")
    def many(texts: list[str]) -> Any:
        return Summarise().map(texts)

    played = stage.play(many, texts=["a", "bb", "ccc"])

    made = requests(played)
    assert 3 == len(made)
    row = played.stage.records.autocommit(lambda tx: tx.runs.by_id(played.id))
    assert row is not None
    assert sum(one.tokens.total for one in made) == row.total_tokens
    assert sum(one.cost or 0 for one in made) == row.total_cost
    assert ["a", "bb", "ccc"] == [
        one["output_content"].rpartition(" ")[2] for one in played.result()
    ]


def test_unknown_price_is_unknown_and_not_zero(stage: Stage) -> None:
    @flow(name="tests.llm.unpriced")
    def unpriced() -> Any:
        return Ask(model="openai:free")(question="why")

    played = stage.play(unpriced)

    [request] = requests(played)
    assert request.tokens.total
    assert request.cost is None
    assert CostStatus.UNKNOWN is request.cost_status
    assert played.result()["metadata"]["cost_estimate"] is None
    assert Decimal(0) == played.view.cost


def waited() -> tuple[list[timedelta], Callable[[timedelta], None]]:
    pauses: list[timedelta] = []
    return pauses, pauses.append


@pytest.mark.parametrize("fault", ["429x1", "500x1", "cutx1", "badjsonx1"])
def test_what_passes_is_tried_again(stage: Stage, fake_llm: FakeLlm, fault: str) -> None:
    @flow(name="tests.llm.tried_again")
    def tried_again() -> Any:
        return Ask(model=f"openai:fake-{fault}")(question="why").output_content

    played = stage.play(tried_again)

    assert text_of("why") == played.result()
    failed, completed = requests(played)
    assert (RequestStatus.FAILED, RequestStatus.COMPLETED) == (failed.status, completed.status)
    assert (1, 2) == (failed.attempt, completed.attempt)
    unbilled = fault[:3].isdigit()
    assert (CostStatus.UNBILLED if unbilled else CostStatus.UNKNOWN) is failed.cost_status
    assert (Decimal(0) if unbilled else None) == failed.cost
    assert completed.cost == played.view.cost
    assert 1 == fake_llm.stats.answered


@pytest.mark.parametrize("point", ["before_call", "after_answer", "after_call"])
def test_what_was_answered_is_paid_though_the_database_is_away(
    stage: Stage, fake_llm: FakeLlm, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr("flowq.engine.attempts.outcomes._FIRST_DELAY", timedelta(milliseconds=50))
    struck: list[str] = []

    def strike(at: str) -> None:
        if at == point and not struck:
            struck.append(at)
            raise DatabaseUnavailable("says the test")

    @flow(name="tests.llm.interrupted")
    def interrupted() -> Any:
        return Ask()(question="why").output_content

    with injected(strike):
        played = stage.play(interrupted)

    assert text_of("why") == played.result()
    first, second = requests(played)
    assert RequestStatus.COMPLETED is second.status
    paid = {str(one.id): (one.tokens.input, one.tokens.output) for one in (first, second)}
    if point == "before_call":
        assert (RequestStatus.FAILED, None) == (first.status, first.cost)
        del paid[str(first.id)]
    assert paid == fake_llm.stats.bill
    assert sum(one.cost or 0 for one in (first, second)) == played.view.cost


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(
    "model", ["fake", "fake-cutx1", "fake-429x1-retry0s", "unpriced", "unpriced-cutx1", "fake-400"]
)
def test_live_page_shows_what_a_run_has_cost(stage: Stage, model: str, *, lost: bool) -> None:
    """What was paid in attempts that failed, too; and an unknown cost is never 0."""

    @flow(name="tests.llm.watched")
    def watched(questions: list[str]) -> Any:
        asked = Ask(model=f"openai:{model}")
        return [asked.map(questions), asked(question="why")]

    played = stage.play(watched, questions=["a", "bb", "ccc"])
    if lost:
        assert isinstance(stage.engine.events, MemoryEvents)
        stage.engine.events.forget()
    events = list(follow(stage.engine, played.id, timeout=60))

    assert shown_live(events) == shown_anew(played.view)
    calls = requests(played)
    unknown = sum(one.cost_status is CostStatus.UNKNOWN for one in calls)
    assert unknown == played.view.unpriced
    assert sum(one.cost or 0 for one in calls) == played.view.cost
    last = events[-1]
    assert isinstance(last, WorkflowCompleted | WorkflowError)
    assert (last.total_cost, last.unpriced_calls) == (played.view.cost, unknown)
    assert "E" not in last.model_dump(mode="json")["total_cost"]


def test_a_provider_is_given_the_time_it_asks_for(stage: Stage) -> None:
    @flow(name="tests.llm.asked_to_wait")
    def asked_to_wait() -> Any:
        return Ask(model="openai:fake-429x1-retry700s")(question="why")

    pauses, wait = waited()
    other = Stage.on(stage.records, wait=wait)
    played = other.play(asked_to_wait)
    assert played.step("tests_ask").attempts == 1

    # Nobody has waited, so the second attempt is not made yet.
    assert StepState.RETRYING is played.step("tests_ask").status
    # Some of it is over when the pause begins.
    assert timedelta(seconds=600) < pauses[0] <= timedelta(seconds=700)


@pytest.mark.parametrize(
    "model, said",
    [
        ("openai:fake-400", "status 400"),
        ("openai:fake-401", "check the key"),
        ("nobody:fake", "unknown model 'nobody:fake'"),
        ("anthropic:claude-haiku-4-5", "pydantic-ai-slim[anthropic]"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(stage: Stage, model: str, said: str) -> None:
    @flow(name="tests.llm.refused")
    def refused() -> Any:
        return Ask(model=model)(question="why")

    played = stage.play(refused)

    failed = played.step("tests_ask")
    assert RunState.FAILED is played.status
    assert 1 == failed.attempts
    shown = (failed.error_type or "", failed.error_message or "", failed.metadata["traceback"])
    assert said in " ".join(shown)


def test_a_missing_key_names_its_setting(
    stage: Stage, fake_llm: FakeLlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowq import bootstrap

    monkeypatch.delenv("FLOWQ_OPENAI_BASE_URL")
    bootstrap.settings.cache_clear()

    @flow(name="tests.llm.keyless")
    def keyless() -> Any:
        return Ask()(question="why")

    played = stage.play(keyless)

    failed = played.step("tests_ask")
    assert "ModelRefused" == failed.error_type
    assert "there is no key for the provider 'openai' of the model 'openai:fake'" in played.error
    assert "set OPENAI_API_KEY" in failed.metadata["traceback"]
    assert (1, 0) == (failed.attempts, fake_llm.stats.calls)


def test_a_model_corrects_itself(stage: Stage, fake_llm: FakeLlm) -> None:
    @flow(name="tests.llm.corrected")
    def corrected() -> Any:
        return Article(model="openai:fake-wrongx2")(text="story")

    played = stage.play(corrected)

    assert "title of 'Summarise this: story'" == played.result()["output_content"]["title"]
    made = requests(played)
    assert [RequestStatus.COMPLETED] * 3 == [one.status for one in made]
    assert [1] * 3 == [one.attempt for one in made]
    assert 3 == fake_llm.stats.answered == played.result()["metadata"]["calls"]
    tokens = fake_llm.stats.input_tokens + fake_llm.stats.output_tokens
    assert tokens == played.view.tokens == played.result()["metadata"]["tokens_used"]
    assert sum(one.cost or 0 for one in made) == played.view.cost


@pytest.mark.parametrize("step_class", [Article, NativeArticle])
def test_an_answer_that_never_fits_fails_for_good(
    stage: Stage, fake_llm: FakeLlm, step_class: type[Article]
) -> None:
    @flow(name="tests.llm.never_fits")
    def never_fits() -> Any:
        return step_class(model="openai:fake-wrong")(text="story")

    played = stage.play(never_fits)

    assert RunState.FAILED is played.status
    failed = played.step(step_class.step_name)
    assert ("InvalidAnswer", 1) == (failed.error_type, failed.attempts)
    assert '{"wrong": "this fits no schema"}' == failed.metadata["last_answer"]
    assert 3 == fake_llm.stats.answered == len(requests(played))
    # They were paid for, though the run has failed.
    row = played.stage.records.autocommit(lambda tx: tx.runs.by_id(played.id))
    assert row is not None
    assert fake_llm.stats.input_tokens + fake_llm.stats.output_tokens == row.total_tokens
    assert row.total_cost > 0


def test_an_answer_without_text_fails_for_good(stage: Stage) -> None:
    @flow(name="tests.llm.empty")
    def empty() -> Any:
        return Ask(model="openai:fake-empty")(question="why")

    played = stage.play(empty)

    assert ("InvalidAnswer", 1) == (
        played.step("tests_ask").error_type,
        played.step("tests_ask").attempts,
    )


def test_a_stream_gives_the_same_text_and_usage(stage: Stage, fake_llm: FakeLlm) -> None:
    @flow(name="tests.llm.streamed")
    def streamed() -> Any:
        return Stream()(question="why is it so")

    played = stage.play(streamed)

    assert text_of("why is it so") == played.result()["output_content"]
    [request] = requests(played)
    assert fake_llm.stats.input_tokens == request.tokens.input
    assert (
        fake_llm.stats.output_tokens == request.tokens.output == tokens_of(text_of("why is it so"))
    )


def test_a_stream_that_is_cut_is_tried_again(stage: Stage) -> None:
    @flow(name="tests.llm.cut_stream")
    def cut_stream() -> Any:
        return Stream(model="openai:fake-cutx1")(question="why is it so").output_content

    played = stage.play(cut_stream)

    assert text_of("why is it so") == played.result()
    failed, _ = requests(played)
    assert (RequestStatus.FAILED, None) == (failed.status, failed.cost)


def test_an_image_is_in_the_results_store(stage: Stage, fake_llm: FakeLlm) -> None:
    @flow(name="tests.llm.painted")
    def painted() -> Any:
        return Picture()(prompt="a cat", size="64x32")

    played = stage.play(painted)

    result = played.result()
    facts = result["metadata"]["image"]
    assert f"memory:///{facts['key']}" == result["output_content"]
    assert ("image/png", "64x32", "A fake picture of: a cat") == tuple(
        facts[name] for name in ("media_type", "size", "revised_prompt")
    )
    data = stage.engine.results.objects.get(facts["key"])
    assert data.startswith(b"\x89PNG")
    assert len(data) == facts["size_bytes"]
    [request] = requests(played)
    assert (tokens_of("a cat"), 1000) == (request.tokens.input, request.tokens.output)
    assert request.cost == played.view.cost == Decimal(2) + Decimal(2) / 1000


def test_inputs_that_come_late_are_checked_on_the_worker(stage: Stage) -> None:
    @step
    def nothing() -> str:
        return ""

    @flow(name="tests.llm.late_inputs")
    def late_inputs() -> Any:
        return Article()(text=nothing())

    played = stage.play(late_inputs)

    failed = played.step("tests_article")
    assert ("StepError", 1) == (failed.error_type, failed.attempts)
    assert "text: " in (failed.error_message or "")


def test_a_timeout_ends_the_call(records: Any, fake_llm: FakeLlm) -> None:
    stage = Stage.on(records, policies=Policies())

    @flow(name="tests.llm.slow")
    def slow(timeout: float) -> Any:
        return Ask(model="openai:fake-300s").options(timeout=timeout, retries=0)(question="why")

    for timeout in (0.3, 3.0, 30.0):  # a busy machine may need longer to make the call
        played = stage.play(slow, timeout=timeout)
        assert "StepTimeout" == played.step("tests_ask").error_type
        if requests(played) and fake_llm.stats.calls:
            break

    from tests.tools.waiting import wait_until

    [request] = wait_until(
        lambda: [one for one in requests(played) if one.status is RequestStatus.CANCELLED],
        what="the call is recorded as cancelled",
    )
    assert request.cost is None
    stats = fake_llm.stats
    wait_until(lambda: stats.calls == stats.gone > 0, what="the server sees that nobody waits")


def test_programs_await_steps_that_call_models(stage: Stage, fake_llm: FakeLlm) -> None:
    @flow(name="tests.llm.program")
    async def program(texts: list[str]) -> Any:
        said = await asyncio.gather(*(Summarise().execute({"text": text}) for text in texts))
        article = await Article().execute({"text": said[0].output_content})
        try:
            await Ask(model="openai:fake-400").execute({"question": "why"})
        except StepFailed:
            return [article.output_content.words, len(said), said[0].metadata.tokens_used]

    played = stage.play(program, texts=["a", "b", "c"])

    prompt = "Summarise this: a"
    assert [0, 3, tokens_of(prompt, text_of(prompt))] == played.result()
    made = requests(played)
    assert 4 == fake_llm.stats.answered
    assert 5 == fake_llm.stats.calls == len(made)
    assert fake_llm.stats.input_tokens + fake_llm.stats.output_tokens == played.view.tokens
    assert sum(one.cost or 0 for one in made) == played.view.cost > 0
