"""Steps that call models have caches, limits and budgets like any other."""

from decimal import Decimal
from typing import Any

import pytest

from flowq import Budget, flow
from flowq.core.states import RunState
from flowq.engine import runs
from flowq.engine.budgets import raise_budget
from flowq.entrypoints.fake_llm import FakeLlm
from tests.integration.playing import Played, Stage
from tests.llm_steps import Ask, Cached, Picky

pytestmark = pytest.mark.usefixtures("fake_llm")


@flow(name="tests.llm.cached")
def cached(question: str, model: str = "openai:fake") -> Any:
    return Cached(model=model)(question=question).output_content


@flow(name="tests.llm.asked")
def asked(questions: list[str]) -> Any:
    return Ask().map(questions)


@flow(name="tests.llm.one_at_once")
def one_at_once(questions: list[str]) -> Any:
    return Picky().map(questions)


def test_answer_is_taken_from_the_cache_and_no_model_is_called(
    stage: Stage, fake_llm: FakeLlm
) -> None:
    first = stage.play(cached, question="why")

    second = stage.play(cached, question="why")

    assert first.result() == second.result()
    assert fake_llm.stats.calls == 1
    assert first.view.cost > 0
    assert (second.view.tokens, second.view.cost) == (0, Decimal(0))
    assert second.view.saved.tokens == first.view.tokens
    assert second.view.saved.cost == first.view.cost


def test_another_model_is_another_call(stage: Stage, fake_llm: FakeLlm) -> None:
    stage.play(cached, question="why not")
    stage.play(cached, question="why not", model="openai:other")

    assert fake_llm.stats.calls == 2


def test_class_says_how_many_are_under_way(stage: Stage) -> None:
    played = stage.play(one_at_once, questions=["a", "b", "c"])

    assert played.status is RunState.COMPLETED
    assert played.step(played.view.steps[0].key).attempts == 1


def test_budget_holds_for_steps_that_call_models(stage: Stage, fake_llm: FakeLlm) -> None:
    budget = Budget(usd="0.000001", on_exceeded="pause")
    run_id = runs.submit(stage.engine, asked.type, {"questions": ["a", "b", "c"]}, budget=budget)
    stage.dispatcher.run(stage.engine)
    played = Played(stage, run_id, asked)
    assert (played.status, fake_llm.stats.calls) == (RunState.PAUSED, 1)

    raise_budget(stage.engine, run_id, usd=100)
    stage.dispatcher.run(stage.engine)

    assert played.status is RunState.COMPLETED
    assert fake_llm.stats.calls == 3
