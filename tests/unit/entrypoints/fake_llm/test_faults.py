"""A model's name says how it answers."""

import pytest

from flowq.entrypoints.fake_llm.answers import answer
from flowq.entrypoints.fake_llm.faults import behaviour


def kinds(model: str, calls: int = 5) -> list[str]:
    how = behaviour(model)
    faults = [how.fault(earlier) for earlier in range(calls)]
    return [fault.kind if fault else "" for fault in faults]


@pytest.mark.parametrize("model", ["fake", "gpt-4o", "gpt-5-mini", "claude-haiku-4-5", ""])
def test_ordinary_names_answer_at_once_and_well(model: str) -> None:
    how = behaviour(model)

    assert (0, (), None) == (how.seconds, how.faults, how.output_tokens)


@pytest.mark.parametrize(
    "model, hit",
    [
        ("fake-429", ["429"] * 5),
        ("fake-429x2", ["429", "429", "", "", ""]),
        ("fake-429x1-500x2", ["429", "500", "500", "", ""]),
        ("fake-cutx1-badjson", ["cut", *["badjson"] * 4]),
        ("fake-wrongx1-0.5s", ["wrong", "", "", "", ""]),
        ("fake-418x1", ["418", "", "", "", ""]),
    ],
)
def test_faults_hit_as_often_as_they_say(model: str, hit: list[str]) -> None:
    assert hit == kinds(model)


def test_a_name_says_times_and_tokens() -> None:
    how = behaviour("fake-1.5s-429x1-retry30s-out800")

    assert (1.5, 30, 800) == (how.seconds, how.retry_after, how.output_tokens)
    fault = how.fault(0)
    assert fault is not None
    assert 429 == fault.status


@pytest.mark.parametrize("model, cached", [("fake", 0), ("fake-cached2", 2), ("fake-cached900", 3)])
def test_a_name_says_how_much_was_cached_of_what_there_is(model: str, cached: int) -> None:
    request = {"messages": [{"role": "user", "content": "twelve chars"}]}
    said = answer(
        request, wrong=False, empty=False, output=None, cached=behaviour(model).cached_tokens
    )

    assert (3, cached) == (said.input_tokens, said.cached_tokens)
    assert {"cached_tokens": cached} == said.usage["prompt_tokens_details"]
