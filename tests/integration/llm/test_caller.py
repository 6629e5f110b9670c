"""Steps that call models outside any flow: they just run, recorded where that is possible."""

import asyncio
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flowq import bootstrap, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import InvalidAnswer, ModelUnavailable
from flowq.engine.attempts.outcomes import AttemptEnding
from flowq.engine.attempts.run import run_attempt
from flowq.engine.model.model_calls import CostBy
from flowq.entrypoints.fake_llm import FakeLlm
from flowq.llm import caller
from tests.tools.llm_steps import Article, Ask, Picture, Summarise, text_of, tokens_of
from tests.tools.playing import Stage


@pytest.fixture
def alone(
    fake_llm: FakeLlm, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """This process with a database of its own."""
    monkeypatch.setenv("FLOWQ_HOME", str(tmp_path))
    monkeypatch.setenv("FLOWQ_DATABASE_URL", sqlite_url)
    monkeypatch.setattr(bootstrap, "_process", bootstrap._ProcessState())
    bootstrap.settings.cache_clear()
    caller._has_records.cache_clear()
    yield tmp_path
    caller._has_records.cache_clear()
    if bootstrap._process.engine is not None:
        records = bootstrap._process.engine.records
        assert isinstance(records, SqlRecords)
        records.close()


def costs(by: CostBy = CostBy.MODEL) -> list[tuple[str | None, int, Decimal]]:
    lines = bootstrap.engine().records.autocommit(lambda tx: tx.llm_requests.costs(by))
    return [(line.name, line.calls, line.cost) for line in lines]


def test_a_step_runs_and_is_recorded(alone: Path) -> None:
    result = asyncio.run(Summarise().execute({"text": "a story"}))

    prompt = "Summarise this: a story"
    assert text_of(prompt) == result.output_content
    assert ("tests_summarise", "openai", "fake") == (
        result.step_name,
        result.metadata.provider,
        result.metadata.model,
    )
    assert tokens_of(prompt, text_of(prompt)) == result.metadata.tokens_used
    assert result.metadata.run_id is None
    [(name, calls, cost)] = costs()
    assert ("openai:fake", 1) == (name, calls)
    assert result.metadata.cost_estimate == float(cost) > 0
    assert [(None, 1, cost)] == costs(CostBy.FLOW)


def test_an_answer_is_an_instance(alone: Path) -> None:
    result = asyncio.run(Article(model="openai:fake").execute({"text": "a story"}))

    assert isinstance(result.output_content, Article.Outputs)
    assert result == type(result).model_validate_json(result.model_dump_json())


def test_an_image_is_a_file_of_the_results_store(alone: Path) -> None:
    result = asyncio.run(Picture().execute({"prompt": "a cat", "size": "16x16"}))

    assert result.output_content.startswith("file://")
    assert result.metadata.image is not None
    file = Path(result.output_content.removeprefix("file://"))
    assert file.is_relative_to(alone)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert result.metadata.image.size_bytes == file.stat().st_size


def test_steps_on_one_loop_after_another(alone: Path, fake_llm: FakeLlm) -> None:
    async def three() -> list[Any]:
        asked = [Ask().execute({"question": name}) for name in "abc"]
        return list(await asyncio.gather(*asked))

    for _ in range(3):
        said = asyncio.run(three())
        assert [text_of(name) for name in "abc"] == [one.output_content for one in said]

    assert 9 == fake_llm.stats.answered
    assert 9 == costs()[0][1]


def test_errors_are_raised_as_they_are(alone: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        asyncio.run(Ask(model="openai:fake-429").execute({"question": "why"}))
    assert caught.value.retry_after is not None
    with pytest.raises(InvalidAnswer) as refused:
        asyncio.run(Article(model="openai:fake-wrong").execute({"text": "x"}))
    assert "this fits no schema" in str(refused.value.details["last_answer"])


def test_without_a_database_it_runs_all_the_same(
    alone: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLOWQ_DATABASE_URL", f"sqlite:///{alone.parent / 'elsewhere.db'}")
    bootstrap.settings.cache_clear()

    result = asyncio.run(Ask().execute({"question": "why"}))

    assert text_of("why") == result.output_content
    assert result.metadata.llm_request_id is None
    assert result.metadata.tokens_used > 0
    assert 1 == len([one for one in caplog.records if "not recorded" in one.getMessage()])


def test_a_step_within_a_step_counts_as_that_one(stage: Stage, fake_llm: FakeLlm) -> None:
    @step(name="tests.alone.outer")
    async def outer() -> str:
        said = await Ask().execute({"question": "inner"})
        return str(said.output_content)

    from flowq import flow

    @flow(name="tests.llm.nested")
    def nested() -> str:
        return outer()  # type: ignore[no-any-return]

    played = stage.play(nested)

    assert text_of("inner") == played.result()
    [made] = stage.records.autocommit(lambda tx: tx.llm_requests.of_run(played.id))
    assert fake_llm.stats.input_tokens == made.tokens.input
    assert (made.tokens.total, made.cost) == (
        played.step("outer").tokens,
        played.step("outer").cost,
    )


def test_a_duplicate_of_the_message_calls_nobody(stage: Stage, fake_llm: FakeLlm) -> None:
    from flowq import flow

    @flow(name="tests.llm.doubled")
    def doubled() -> Any:
        return Ask()(question="once")

    played = stage.play(doubled)
    [made] = stage.records.autocommit(lambda tx: tx.llm_requests.of_run(played.id))
    assert made.step_id is not None

    again = run_attempt(stage.engine, made.step_id, played.id, in_chord=False)

    assert AttemptEnding.NOT_CLAIMED is again.ending
    assert 1 == fake_llm.stats.calls
    assert made.tokens.total == played.view.tokens


def test_no_connection_is_left_open(alone: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(Ask().execute({"question": "why"}))
