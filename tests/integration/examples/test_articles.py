"""The sample of flows as classes and steps that call models, with the fake model."""

from typing import Any

import pytest

from examples.articles import ArticleProcessingFlow, MasterContentFlow
from flowq.core.errors import InvalidInput
from flowq.core.states import RunState
from flowq.engine.model.model_calls import CostBy
from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools.playing import Stage

RAW = "Menu Home About. The sea is deep and cold. Buy now!"


def made(flow: Any) -> Any:
    """The flow of a class, as a stage plays it."""
    return flow.flow


@pytest.fixture(autouse=True)
def _model(fake_llm: FakeLlm) -> None:
    """Ask the fake model."""


def test_an_article_is_made_of_raw_text(stage: Stage, fake_llm: FakeLlm) -> None:
    played = stage.play(made(ArticleProcessingFlow), raw=RAW)

    article = played.result()
    assert article["content"].startswith("A fake answer to: Take the article out of")
    assert article["title"].startswith("title of 'Give this article a title")
    assert 2 == len(article["key_points"])
    tokens = fake_llm.stats.input_tokens + fake_llm.stats.output_tokens
    assert tokens == article["tokens_used"] == played.view.tokens
    assert played.view.cost > 0


@pytest.mark.parametrize("thumbnail", [False, True])
def test_content_is_composed_of_a_child_run_and_perhaps_a_thumbnail(
    stage: Stage, fake_llm: FakeLlm, *, thumbnail: bool
) -> None:
    before = calls(stage)

    played = stage.play(made(MasterContentFlow), text=RAW, thumbnail=thumbnail)

    content = played.result()
    assert content["title"].startswith("title of ")
    assert thumbnail == (content["thumbnail"] is not None)
    assert 2 + thumbnail == fake_llm.stats.answered
    after = calls(stage)
    assert 2 == after["article_processing"] - before.get("article_processing", 0)
    assert thumbnail == after.get("master_content", 0) - before.get("master_content", 0)


def calls(stage: Stage) -> dict[str | None, int]:
    lines = stage.records.autocommit(lambda tx: tx.llm_requests.costs(CostBy.FLOW))
    return {line.name: line.calls for line in lines}


def test_inputs_are_checked_before_anything(stage: Stage, fake_llm: FakeLlm) -> None:
    with pytest.raises(InvalidInput, match="give either a text or a url"):
        stage.play(made(MasterContentFlow), text="a", url="b")
    assert 0 == fake_llm.stats.calls


def test_a_step_that_fails_for_good_fails_the_flow(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowq import bootstrap

    monkeypatch.setenv("FLOWQ_MODEL", "openai:fake-wrong")
    bootstrap.settings.cache_clear()

    played = stage.play(made(MasterContentFlow), text=RAW)

    assert RunState.FAILED is played.status
    assert "summarise_article" in played.error
