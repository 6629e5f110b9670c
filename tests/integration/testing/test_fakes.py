"""Functions of a test in place of steps and of step classes."""

from typing import Any

import pytest

from flowq import StepResult, flow, step, testing
from flowq.authoring.definitions.base_steps import BaseStep
from flowq.core.errors import InvalidFlow, RunFailed
from tests.tools.llm_steps import Article, Summarise


@flow(name="tests.fakes.summary")
def summary(text: str) -> str:
    return Summarise()(text=text).output_content  # type: ignore[no-any-return]


@step(name="tests.fakes.title")
def title(article: StepResult[Article.Outputs]) -> str:
    return article.output_content.title


@flow(name="tests.fakes.headline")
def headline(text: str) -> str:
    return title(Article()(text=text))


def test_fake_of_a_class_returns_the_content() -> None:
    fakes: testing.Fakes = {Summarise: lambda text: text[:4]}
    assert "long" == testing.run(summary, {"text": "long story"}, fakes=fakes)


def test_later_step_gets_an_instance_of_outputs() -> None:
    def fake(text: str) -> Article.Outputs:
        return Article.Outputs(title=text.upper(), words=2, points=[])

    assert "A PEN" == testing.run(headline, {"text": "a pen"}, fakes={Article: fake})


def test_fake_may_be_async_and_may_return_the_whole_result() -> None:
    async def fake(text: str) -> StepResult[str]:
        return StepResult[str](step_name="tests_summarise", output_content=f"{text}!")

    assert "pen!" == testing.run(summary, {"text": "pen"}, fakes={Summarise: fake})


def test_content_of_another_type_fails_the_run() -> None:
    with pytest.raises(RunFailed, match="title"):
        testing.run(headline, {"text": "a"}, fakes={Article: lambda text: {"words": 1}})


@pytest.mark.parametrize("wrong", [BaseStep, int])
def test_what_is_no_step_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidFlow, match="not a step"):
        testing.run(summary, {"text": "a"}, fakes={wrong: lambda: 1})
