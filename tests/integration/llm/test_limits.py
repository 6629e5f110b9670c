"""Steps that call models have caches, limits and budgets like any other."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from flowq import Budget, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.core.states import RunState
from flowq.engine.attempts.budgets import raise_budget
from flowq.engine.engine import Policies
from flowq.engine.model.model_calls import CostBy, CostGroup
from flowq.engine.runs import submission
from flowq.engine.sweeper.retention import collect
from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools.llm_steps import Ask, Cached, CachedPicture, Picky, Picture, content
from tests.tools.playing import Played, Stage

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


def test_class_says_how_many_run_at_once(stage: Stage) -> None:
    played = stage.play(one_at_once, questions=["a", "b", "c"])

    assert played.status is RunState.COMPLETED
    assert played.step(played.view.steps[0].key).attempts == 1


def test_budget_holds_for_steps_that_call_models(stage: Stage, fake_llm: FakeLlm) -> None:
    budget = Budget(usd="0.000001", on_exceeded="pause")
    run_id = submission.submit(
        stage.engine, asked.type, {"questions": ["a", "b", "c"]}, budget=budget
    )
    stage.dispatcher.run(stage.engine)
    played = Played(stage, run_id, asked)
    assert (played.status, fake_llm.stats.calls) == (RunState.PAUSED, 1)

    raise_budget(stage.engine, run_id, usd=100)
    stage.dispatcher.run(stage.engine)

    assert played.status is RunState.COMPLETED
    assert fake_llm.stats.calls == 3


@flow(name="tests.llm.asked_twice")
def asked_twice(question: str) -> Any:
    return [Ask()(question=question).output_content, asked(questions=[question])]


def test_costs_are_grouped_by_the_metadata_of_the_outermost_run(
    stage: Stage, fake_llm: FakeLlm
) -> None:
    for customer in ("acme", "umbrella"):
        metadata = {"customer": customer, "vip": True, "order": {"id": 7}}
        inputs = {"question": customer}
        submission.submit(stage.engine, asked_twice.type, inputs, metadata=metadata)
    stage.dispatcher.run(stage.engine)
    stage.play(asked_twice, question="nobody")

    group = CostGroup.parse("metadata.customer")
    lines = stage.records.autocommit(
        lambda tx: tx.llm_requests.costs(group, CostBy.MODEL, flow_name="tests.llm.asked")
    )
    assert {(one.name, one.also): one.calls for one in lines if one.name} == {
        ("acme", "openai:fake"): 1,
        ("umbrella", "openai:fake"): 1,
    }
    every = stage.records.autocommit(lambda tx: tx.llm_requests.costs(group))
    assert {one.name: one.calls for one in every if one.name} == {"acme": 2, "umbrella": 2}
    vip = stage.records.autocommit(
        lambda tx: tx.llm_requests.costs(CostGroup.parse("metadata.vip"))
    )
    assert {one.name: one.calls for one in vip if one.name} == {"true": 4}


# --- images in the cache -------------------------------------------------------------------------

#: What has just ended is old: databases count milliseconds, and stores may count less finely.
OLD = Policies(retention=timedelta(seconds=-5), orphans_after=timedelta(seconds=-5))


@step(cache=3600)
def titled(picture: Any) -> str:
    return f"See {picture['output_content']}"


@flow(name="tests.llm.cached_picture")
def cached_picture(prompt: str) -> Any:
    return CachedPicture()(prompt=prompt)


@flow(name="tests.llm.titled_picture")
def titled_picture(prompt: str) -> Any:
    return titled(Picture()(prompt=prompt))


@pytest.fixture
def old(records: SqlRecords) -> Stage:
    """A stage whose runs and objects are old at once."""
    with records.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM flow_cached_results")
    return Stage.on(records, policies=OLD)


def images(stage: Stage) -> list[str]:
    return [one.key for page in stage.engine.results.objects.list("results") for one in page]


def keep_runs(stage: Stage, *, keep: bool) -> None:
    object.__setattr__(stage.engine, "policies", replace(OLD, retention=None) if keep else OLD)


def expire_entries(stage: Stage) -> None:
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE flow_cached_results SET expires_at = '2020-01-01 00:00:00.000000'"
        )


def test_image_is_kept_as_long_as_a_cached_result_links_to_it(
    old: Stage, fake_llm: FakeLlm
) -> None:
    link = content(old.play(cached_picture, prompt="a cat").result())
    collect(old.engine)
    assert rows(old, "SELECT 1 FROM flow_runs") == []
    [key] = images(old)

    taken = old.play(cached_picture, prompt="a cat")
    assert content(taken.result()) == link
    assert link.endswith(key)
    assert fake_llm.stats.calls == 1

    expire_entries(old)
    keep_runs(old, keep=True)
    collect(old.engine)
    assert images(old) == [key], "the second run links to it"
    keep_runs(old, keep=False)
    collect(old.engine)
    assert images(old) == []


def test_image_that_nobody_has_cached_goes_with_its_run(old: Stage) -> None:
    old.play(asked_for_picture, prompt="a dog")
    assert len(images(old)) == 1
    collect(old.engine)
    assert images(old) == []


@flow(name="tests.llm.asked_for_picture")
def asked_for_picture(prompt: str) -> Any:
    return Picture()(prompt=prompt)


def test_entry_that_names_an_image_in_its_text_goes_with_the_image(old: Stage) -> None:
    text = old.play(titled_picture, prompt="a cow").result()
    [key] = images(old)
    assert key in text
    assert len(rows(old, "SELECT 1 FROM flow_cached_results")) == 1

    collect(old.engine)

    assert images(old) == []
    assert rows(old, "SELECT 1 FROM flow_cached_results") == []


def rows(stage: Stage, sql: str) -> list[Any]:
    with stage.records.engine.connect() as connection:
        return list(connection.exec_driver_sql(sql))
