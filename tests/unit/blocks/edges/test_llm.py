"""The edges that ask a model: which messages they make, and what a document may not say."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from flowq.blocks.edges import llm

Said = list[tuple[Sequence[Mapping[str, str]], dict[str, Any]]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """What the model was asked; it answers with JSON in a fence."""
    asked: Said = []

    async def chat(messages: Sequence[Mapping[str, str]], **options: Any) -> str:
        asked.append((messages, options))
        return '```json\n{"a": 1}\n```'

    monkeypatch.setattr(llm, "chat", chat)
    return asked


def test_messages_have_contents_in_place_of_placeholders(said: Said) -> None:
    config = {
        "messages": [
            {"role": "system", "content": "Be {{tone}}."},
            {"role": "user", "content": "{{data}}"},
        ],
        "chat_histories": "{{history}}",
        "model": "openai/gpt-5-mini",
        "temperature": 0.5,
        "max_tokens": 10,
    }
    history = [{"role": "assistant", "content": "Hi"}]
    contents = {"tone": "kind", "data": {"é": [1]}, "history": history}
    answer = asyncio.run(llm.llm(config, contents))
    messages, options = said[0]
    assert messages == [
        {"role": "assistant", "content": "Hi"},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": '{"é": [1]}'},
    ]
    assert options["model"] == "openai:gpt-5-mini"
    assert options["settings"] == {"temperature": 0.5, "max_tokens": 10}
    assert answer.startswith("```")


def test_an_answer_that_is_data_becomes_data_when_that_is_asked_for(said: Said) -> None:
    config = {"messages": [{"content": "x"}], "structured_output": True}
    assert asyncio.run(llm.llm(config, {})) == {"a": 1}


@pytest.mark.parametrize(
    "queries, docs, asked",
    [
        (["1"], ["2"], "why?\n\nfirst\n\nsecond"),
        (["1"], [], "why?"),
        ({"1": "q"}, ["2", "3"], "why?\n\nDocument 1: first\n\nsecond\n\nDocument 2: third"),
        (["1", "3"], [], "Query 1: why?\n\nQuery 2: third"),
    ],
)
def test_queries_and_documents_are_numbered_when_there_are_several(
    said: Said, queries: Any, docs: Any, asked: str
) -> None:
    config = {
        "inputs": {"1": "q", "2": "d", "3": "e"},
        "queries": queries,
        "docs": docs,
        "system_prompt": "Be brief.",
    }
    contents = {"q": "why?", "d": ["first", "second"], "e": "third"}
    asyncio.run(llm.generator(config, contents))
    assert said[0][0] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": asked},
    ]


@pytest.mark.parametrize(
    "settings, path",
    [
        ({"messages": []}, ("messages",)),
        ({"messages": "hello"}, ("messages",)),
        ({"messages": [{"role": "user"}]}, ("messages", 0, "content")),
        ({"messages": [{"role": "god", "content": ""}]}, ("messages", 0, "role")),
        ({"messages": [{"content": ""}], "base_url": "http://mine"}, ("base_url",)),
        ({"messages": [{"content": ""}], "api_key": "sk-1"}, ("api_key",)),
        ({"messages": [{"content": ""}], "model": {"name": 1}}, ("model",)),
        ({"messages": [{"content": ""}], "temperature": "hot"}, ("temperature",)),
    ],
)
def test_settings_that_are_refused(settings: Any, path: Any) -> None:
    found = list(llm.check({"inputs": {}, **settings}))
    assert [flaw.place for flaw in found if not flaw.warns] == [path]
    assert "sk-1" not in str(found)


def test_a_generator_names_its_blocks() -> None:
    found = llm.check_generator({"inputs": {"1": ""}, "queries": ["9"], "docs": ["1"]})
    assert [flaw.place for flaw in found] == [("queries",)]
    assert [flaw.place for flaw in llm.check_generator({"inputs": {}})] == [("queries",)]
