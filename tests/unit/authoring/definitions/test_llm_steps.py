"""Steps that are classes: what is checked when they are defined, and where they can be called."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from flowq import (
    ImageStep,
    NewsStep,
    StepResult,
    StepType,
    StructuredStep,
    UnstructuredStep,
    flow,
    testing,
)
from flowq.authoring.definitions.base_steps import BaseStep
from flowq.core.errors import (
    IncompleteStep,
    InvalidFlow,
    InvalidInput,
    InvalidPrompt,
    ModelRefused,
    PromptNotFound,
)
from flowq.core.retries import RetryPolicy
from flowq.engine.registry.registry import registry
from tests.tools.llm_steps import Article, Ask, Picture, Summarise

PROMPTS = Path(__file__).parents[3] / "tools" / "prompts"


def define(base: type[BaseStep], name: str = "tests_defined", **attributes: Any) -> type[Any]:
    registry.steps.pop(name, None)
    given = {"step_name": name, "prompts_folder": PROMPTS, "__module__": __name__, **attributes}
    return type("Defined", (base,), given)


class Text(BaseModel):
    text: str


class Title(BaseModel):
    title: str


# --- definition -----------------------------------------------------------------------------------


def test_a_class_is_registered_under_its_step_name() -> None:
    assert "tests_summarise" in registry.steps
    assert registry.steps["tests_summarise"].is_async
    assert StepResult[str] is registry.steps["tests_summarise"].returns
    assert StepResult[Article.Outputs] is registry.steps["tests_article"].returns
    assert "Summarises a text." == Summarise._step.__doc__


@pytest.mark.parametrize(
    "base, kind",
    [
        (UnstructuredStep, StepType.UNSTRUCTURED_LLM),
        (StructuredStep, StepType.STRUCTURED_LLM),
        (ImageStep, StepType.IMAGE_GENERATION),
        (NewsStep, StepType.NEWS_GATHERING),
    ],
)
def test_each_class_has_its_kind(base: type[BaseStep], kind: StepType) -> None:
    assert kind is base.step_type


@pytest.mark.parametrize(
    "base, attributes, error, said",
    [
        (UnstructuredStep, {"prompt_file": "summarise.txt"}, IncompleteStep, "Inputs class"),
        (UnstructuredStep, {"Inputs": Text}, IncompleteStep, "must define a prompt_file"),
        (
            StructuredStep,
            {"prompt_file": "summarise.txt", "Inputs": Text},
            IncompleteStep,
            "must define Outputs class",
        ),
        (ImageStep, {"Inputs": Title}, IncompleteStep, "ImageStep requires 'prompt' in inputs"),
        (
            UnstructuredStep,
            {"prompt_file": "nothing.txt", "Inputs": Text},
            PromptNotFound,
            "there is no prompt",
        ),
        (
            UnstructuredStep,
            {"prompt_file": "summarise.txt", "Inputs": Title},
            InvalidPrompt,
            "uses 'text', which its Inputs lacks",
        ),
        (
            UnstructuredStep,
            {"prompt_file": "summarise.txt", "Inputs": Text, "retries": -1},
            InvalidFlow,
            "retries is out of range",
        ),
    ],
)
def test_what_is_missing_is_reported_at_the_definition(
    base: type[BaseStep], attributes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        define(base, **attributes)
    assert "tests_defined" not in registry.steps


def test_a_missing_inputs_class_is_not_implemented_too() -> None:
    with pytest.raises(NotImplementedError):
        define(UnstructuredStep, prompt_file="summarise.txt")


def test_an_input_must_not_have_the_name_that_is_taken() -> None:
    class Taken(BaseModel):
        text: str
        call_options: int

    with pytest.raises(InvalidFlow, match="'call_options', which is taken"):
        define(UnstructuredStep, prompt_file="summarise.txt", Inputs=Taken)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(InvalidFlow, match="two steps are named 'tests_summarise'"):
        type(
            "Summarise",
            (UnstructuredStep,),
            {
                "step_name": "tests_summarise",
                "prompt_file": "summarise.txt",
                "prompts_folder": PROMPTS,
                "Inputs": Text,
                "__module__": __name__,
                "__qualname__": "Other",
            },
        )


def test_a_base_without_a_name_shares_what_it_says() -> None:
    class Ours(UnstructuredStep):
        model = "openai:ours"
        retry = RetryPolicy(max_attempts=7)
        prompts_folder = PROMPTS

    with pytest.raises(IncompleteStep, match="has no step_name"):
        Ours()
    made = define(Ours, "tests_of_ours", prompt_file="summarise.txt", Inputs=Text)
    assert ("openai:ours", 7) == (made.model, made._step._options.retry.max_attempts)


def test_by_default_a_step_is_tried_again_when_its_model_is_away() -> None:
    policy = Summarise._step._options.retry

    assert 4 == policy.max_attempts
    assert "ModelUnavailable" in policy.retry_on


def test_the_setting_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.txt").write_text("{{ text }}")
    monkeypatch.setenv("FLOWQ_PROMPTS", str(tmp_path))

    made = define(UnstructuredStep, prompt_file="own.txt", prompts_folder=None, Inputs=Text)

    assert "hi" == made()._prompted(Text(text="hi"))


# --- in flows -------------------------------------------------------------------------------------


def test_calls_are_nodes_of_a_flow() -> None:
    @flow(name="tests.llm.traced")
    def traced(text: str) -> Any:
        said = Summarise()(text=text)
        article: Any = Article(model="openai:big").execute({"text": said.output_content})
        asked = Ask().options(retries=5, key="ask-again").map(article.output_content.points)
        return asked, Picture()(prompt=article.output_content.title)

    spec = traced.spec("story")

    by_key = spec.by_key
    assert ["tests_summarise", "tests_article", "ask-again", "tests_picture"] == list(by_key)
    assert {"text": "story"} == by_key["tests_summarise"].arguments
    assert {
        "text": {"$ref": "tests_summarise", "path": ["output_content"]},
        "call_options": {"model": "openai:big"},
    } == by_key["tests_article"].arguments
    asked = by_key["ask-again"]
    assert asked.map is not None
    assert ("question", 6) == (asked.map.parameter, asked.retry.max_attempts)
    assert {"$ref": "tests_article", "path": ["output_content", "points"]} == asked.map.items


@pytest.mark.parametrize(
    "name, key", [("shop.summarise", "shop.summarise"), ("Say it", "Say it"), ("a#1[2]", "a_1_2_")]
)
def test_step_name_is_the_key_whatever_it_is(name: str, key: str) -> None:
    with testing.definitions():
        said = define(UnstructuredStep, name, prompt_file="summarise.txt", Inputs=Text)

        @flow(name="tests.llm.keys")
        def keys() -> Any:
            return said().execute({"text": "a"}), said().execute({"text": "b"})

        assert [key, f"{key}-2"] == list(keys.spec().by_key)


def test_wrong_calls_are_reported_when_the_flow_is_traced() -> None:
    @flow(name="tests.llm.wrong")
    def wrong(kind: str) -> Any:
        if kind == "name":
            return Summarise()(txt=Summarise()(text="a").output_content)
        if kind == "missing":
            return Article().execute({})
        return Article().execute({"text": ""})

    with pytest.raises(InvalidFlow, match=r"missing a required (keyword-only )?argument: 'text'"):
        wrong.spec("name")
    with pytest.raises(InvalidInput, match="'tests_article' has invalid inputs: text: expected"):
        wrong.spec("missing")
    with pytest.raises(InvalidInput, match="at least 1 character"):
        wrong.spec("value")


# --- alone ----------------------------------------------------------------------------------------


def test_inputs_that_do_not_validate_are_refused_before_anything() -> None:
    with pytest.raises(InvalidInput, match="text: expected string, got 3"):
        asyncio.run(Summarise().execute({"text": 3}))


def test_no_model_names_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from flowq import bootstrap
    from flowq.llm import caller

    monkeypatch.setenv("FLOWQ_HOME", str(tmp_path))
    monkeypatch.delenv("FLOWQ_MODEL", raising=False)
    bootstrap.settings.cache_clear()
    monkeypatch.setattr(caller, "_has_records", lambda: False)

    with pytest.raises(ModelRefused, match="set FLOWQ_MODEL"):
        asyncio.run(Summarise().execute({"text": "hi"}))
    bootstrap.settings.cache_clear()


def test_a_test_model_needs_no_provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from flowq import bootstrap
    from flowq.llm import caller

    monkeypatch.setenv("FLOWQ_HOME", str(tmp_path))
    monkeypatch.setenv("FLOWQ_MODEL", "test")
    bootstrap.settings.cache_clear()
    monkeypatch.setattr(caller, "_has_records", lambda: False)

    said = asyncio.run(Summarise().execute({"text": "hi"}))
    article = asyncio.run(Article().execute({"text": "hi"}))

    assert "success (no tool calls)" == said.output_content
    assert ("test", "test", None) == (
        said.metadata.provider,
        said.metadata.model,
        said.metadata.cost_estimate,
    )
    assert isinstance(article.output_content, Article.Outputs)
    bootstrap.settings.cache_clear()


class Many(BaseModel):
    names: list[str] = Field(default_factory=list)
    limit: int = 3


def test_defaults_of_inputs_are_filled_in() -> None:
    made = define(UnstructuredStep, prompt_file="summarise.txt", Inputs=Text)
    step_type = registry.steps["tests_defined"]
    assert ["text", "call_options"] == list(step_type.signature.parameters)
    assert made.Inputs is Text

    define(NewsStep, "tests_many", Inputs=Many)
    parameters = registry.steps["tests_many"].signature.parameters
    assert 3 == parameters["limit"].default
