"""Contexts are built step by step; results are read from JSON and from LangGraph's states."""

import json
from types import SimpleNamespace

import pytest

from flowq.pipeline import ExecutionContext, ExecutionResult


def test_builder_gives_all_fields() -> None:
    context = (
        ExecutionContext.builder()
        .workflow_id("chat")
        .user_id("ann")
        .conversation_id("c1")
        .with_state({"messages": []})
        .with_metadata({"model": "m"}, temperature=0.5)
        .with_variables(city="Rome")
        .build()
    )

    expected = ExecutionContext(
        "chat", "ann", "c1", {"messages": []}, {"model": "m", "temperature": 0.5}, {"city": "Rome"}
    )
    assert expected == context


def test_what_the_builder_is_given_is_copied() -> None:
    state = {"a": 1}
    builder = ExecutionContext.builder().workflow_id("w").user_id("u").with_state(state)
    one, other = builder.build(), builder.build()
    one.initial_state["a"] = 2

    assert (state, other.initial_state) == ({"a": 1}, {"a": 1})


def test_workflow_and_user_are_required() -> None:
    with pytest.raises(ValueError, match=r"^workflow_id is required$"):
        ExecutionContext.builder().user_id("ann").build()
    with pytest.raises(ValueError, match=r"^user_id is required$"):
        ExecutionContext.builder().workflow_id("chat").user_id("").build()


def test_defaults_are_not_shared() -> None:
    one, other = ExecutionContext("a", "b"), ExecutionContext("a", "b")
    one.metadata["x"] = 1

    assert (other.metadata, other.conversation_id) == ({}, None)


def test_result_comes_back_from_json() -> None:
    result = ExecutionResult({"a": 1}, {"b": 2}, {"n": 3}, {"cache": "hit"}, ["e"])

    assert result == ExecutionResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert ExecutionResult({"a": 1}) == ExecutionResult.from_dict({"output": {"a": 1}, "new": 1})


@pytest.mark.parametrize(
    "output, errors, status",
    [
        ({"a": 1}, [], "completed"),
        ({}, [], "completed"),
        ({"a": 1}, ["late"], "completed"),
        ({}, ["no"], "failed"),
    ],
)
def test_status(output: dict[str, int], errors: list[str], status: str) -> None:
    assert status == ExecutionResult(output, errors=errors).status


def test_messages_of_langgraph_may_be_objects_or_mappings() -> None:
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    spent = {"token_usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    messages = [
        {"role": "user", "content": "hi"},
        SimpleNamespace(content="earlier", usage_metadata=usage),
        {"id": "7", "content": "earlier too", "usage_metadata": usage},
        SimpleNamespace(content="", usage_metadata=None, response_metadata=spent),
        {"content": [{"type": "text", "text": "hel"}, "lo"], "usage_metadata": usage},
    ]

    result = ExecutionResult.from_langgraph(
        {"messages": messages, "x": 1}, earlier=[messages[1], {"id": "7"}]
    )

    assert {"response": "hello"} == result.output
    assert {"messages": messages, "x": 1} == result.state
    assert {"tokens_used": 11, "prompt_tokens": 8, "completion_tokens": 3} == result.metrics


def test_langgraph_without_messages() -> None:
    assert {"response": ""} == ExecutionResult.from_langgraph({"x": 1}).output
    assert {"response": ""} == ExecutionResult.from_langgraph({"messages": []}).output
