"""Rates of tokens: steps wait without a worker until the window has room, and not all at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
import uuid_utils.compat as uuids
from pydantic import BaseModel

from flowq import Rate, UnstructuredStep, flow
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.transaction import SqlTransaction
from flowq.authoring.definitions.limiting import RateOption
from flowq.core.ids import StepRunId, node_id
from flowq.core.limits.slots import Limit
from flowq.core.states import RunState, StepState
from flowq.core.usage import CostStatus, RequestStatus, Tokens
from flowq.engine.engine import Policies
from flowq.engine.model.model_calls import Caller, EndedRequest, StartedRequest
from flowq.engine.runs.cancel import cancel
from flowq.engine.runs.pause import pause, resume
from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools.llm_steps import Ask
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.usefixtures("fake_llm")

#: What each call uses: the answer by the model's name, the rest by the prompt.
ANSWER = 800
MODEL = f"openai:fake-out{ANSWER}"
#: Longer than turns are known before, wherever in a span it begins; and when all of it is over.
WINDOW = timedelta(minutes=10)
GONE = 1.06 * WINDOW
QUESTIONS = [f"why {number:02}" for number in range(12)]


class Rated(UnstructuredStep):
    step_name = "tests_rated"
    prompt_file = "ask.txt"
    prompts_folder = "../../../tools/prompts"
    model = MODEL
    rate = Rate(2500, per=0.8, of="tokens")

    class Inputs(BaseModel):
        question: str


class ByModel(UnstructuredStep):
    step_name = "tests_rated_by_model"
    prompt_file = "ask.txt"
    prompts_folder = "../../../tools/prompts"
    model = MODEL
    rate: ClassVar[RateOption] = Rate(500, per=WINDOW, of="tokens", key="all of {model}")

    class Inputs(BaseModel):
        question: str


class SameKey(ByModel):
    step_name = "tests_rated_same_key"


class Twice(ByModel):
    step_name = "tests_rated_twice"
    rate = ("100000 tokens/minute", Rate(500, per=timedelta(days=1), of="tokens"))


class Refused(ByModel):
    step_name = "tests_rated_refused"
    model = f"openai:fake-400-out{ANSWER}"
    rate = "500 tokens/hour"


@flow(name="tests.rated.all")
def all_of(questions: list[str]) -> Any:
    return Rated().map(questions)


@flow(name="tests.rated.by_model")
def by_model(question: str, model: str = MODEL) -> Any:
    return ByModel(model=model)(question=question)


@flow(name="tests.rated.same_key")
def same_key(question: str) -> Any:
    return SameKey()(question=question)


@flow(name="tests.rated.twice")
def twice(question: str) -> Any:
    return Twice()(question=question)


@flow(name="tests.rated.refused")
def refused(question: str) -> Any:
    return Refused()(question=question)


@flow(name="tests.rated.free")
def free(question: str) -> Any:
    return Ask(model=MODEL)(question=question)


@flow(name="tests.rated.program")
async def program(question: str) -> int:
    answers = [await Rated().execute({"question": question}) for _ in range(2)]
    return sum(answer.metadata.tokens_used for answer in answers)


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    with records.engine.begin() as connection:  # tests of a module share a database
        for table in ("flow_runs", "flow_token_uses", "llm_requests"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    return Stage.on(records, policies=Policies(chord_from=100))


def rows(stage: Stage, sql: str) -> list[Any]:
    with stage.records.engine.connect() as connection:
        return list(connection.exec_driver_sql(sql))


def back(stage: Stage, time: timedelta) -> None:
    """Let so much time go by for all that is recorded of rates."""
    with stage.records.engine.begin() as connection:
        # The oldest first: a later one may come to where it has been.
        query = "SELECT key, began_at FROM flow_token_uses ORDER BY began_at"
        found = list(connection.exec_driver_sql(query))
    for key, began in found:
        moment = datetime.fromisoformat(began).replace(tzinfo=UTC) if type(began) is str else began
        earlier = (moment - time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        zone = "" if type(began) is str else "+00"
        was = moment.strftime("%Y-%m-%d %H:%M:%S.%f") + zone
        with stage.records.engine.begin() as connection:
            connection.exec_driver_sql(
                f"UPDATE flow_token_uses SET began_at = '{earlier}{zone}' "
                f"WHERE key = '{key}' AND began_at = '{was}'"
            )


def most_tokens_within(stage: Stage, seconds: float) -> tuple[int, int]:
    """Return the most that was used in any time of this length, and by how much one call."""
    sql = "SELECT completed_at, input_tokens + output_tokens FROM llm_requests"
    calls = [
        (datetime.fromisoformat(at) if type(at) is str else at, tokens)
        for at, tokens in rows(stage, sql)
    ]
    length = timedelta(seconds=seconds)
    most = max(sum(n for other, n in calls if at <= other < at + length) for at, _ in calls)
    return most, max(tokens for _, tokens in calls)


@pytest.mark.parametrize("threads", [1, 4])
def test_no_window_sees_more_than_the_rate_and_what_was_running(stage: Stage, threads: int) -> None:
    played = stage.submit(all_of, {"questions": QUESTIONS})
    began = time.monotonic()

    stage.run_in_threads(played, threads)

    assert played.status is RunState.COMPLETED
    assert {1} == {
        row[0] for row in rows(stage, "SELECT attempt FROM flow_step_runs WHERE map_index >= 0")
    }, "a denied attempt does not count"
    most, one = most_tokens_within(stage, 0.79)
    assert most < 2500 + threads * one
    # Each window of 0.8 s takes four of them at most.
    assert time.monotonic() - began > 0.8 * (len(QUESTIONS) / (3 + threads) - 1)
    assert rows(stage, "SELECT 1 FROM flow_waits") == []


def test_step_over_the_rate_is_queued_and_holds_nothing(stage: Stage, fake_llm: FakeLlm) -> None:
    assert stage.play(by_model, question="a").status is RunState.COMPLETED

    waits = stage.play(by_model, question="b")

    shown = waits.step("tests_rated_by_model")
    assert (shown.status, shown.attempts) == (StepState.QUEUED, 0)
    assert fake_llm.stats.calls == 1
    assert rows(stage, "SELECT 1 FROM flow_step_runs WHERE lease_token IS NOT NULL") == []
    assert stage.dispatcher.waiting == (), "it has to wait for longer than turns are known"
    stage.sweep()
    assert fake_llm.stats.calls == 1

    back(stage, GONE)
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert waits.status is RunState.COMPLETED


def test_models_and_keys_are_limited_together_and_apart(stage: Stage, fake_llm: FakeLlm) -> None:
    other = f"openai:fake-other-out{ANSWER}"
    assert stage.play(by_model, question="a").status is RunState.COMPLETED

    assert stage.play(by_model, question="b", model=other).status is RunState.COMPLETED
    assert stage.play(same_key, question="c").status is RunState.RUNNING

    assert fake_llm.stats.calls == 2
    keys = {row[0] for row in rows(stage, "SELECT key FROM flow_token_uses")}
    assert keys == {f"tokens/600:all of {MODEL}", f"tokens/600:all of {other}"}


def test_minute_and_day_of_one_key_are_both_charged(stage: Stage) -> None:
    assert stage.play(twice, question="a").status is RunState.COMPLETED
    used = dict(rows(stage, "SELECT key, sum(used) FROM flow_token_uses GROUP BY key"))
    assert used.keys() == {"tokens/60:tests_rated_twice", "tokens/86400:tests_rated_twice"}
    assert len(set(used.values())) == 1
    assert int(used["tokens/60:tests_rated_twice"]) > ANSWER

    waits = stage.play(twice, question="b")
    back(stage, timedelta(minutes=2))
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert {waits.status} == {RunState.RUNNING}, "the day has no room"
    back(stage, timedelta(hours=26))
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert waits.status is RunState.COMPLETED


def test_call_that_used_nothing_leaves_the_room(stage: Stage, fake_llm: FakeLlm) -> None:
    for question in ("a", "b", "c"):
        assert stage.play(refused, question=question).status is RunState.FAILED

    assert fake_llm.stats.calls == 3
    assert rows(stage, "SELECT sum(used), sum(tokens), sum(attempts) FROM flow_token_uses") == [
        (0, 0, 3)
    ]


def test_steps_that_name_no_rate_are_not_charged(stage: Stage) -> None:
    assert stage.play(free, question="a").status is RunState.COMPLETED

    assert rows(stage, "SELECT 1 FROM flow_token_uses") == []


def test_step_that_waits_can_be_cancelled_and_others_run(stage: Stage) -> None:
    stage.play(by_model, question="a")
    gone, after = stage.play(by_model, question="b"), stage.play(by_model, question="c")

    assert cancel(stage.engine, gone.id) is RunState.CANCELLED
    back(stage, GONE)
    stage.sweep()
    stage.dispatcher.run(stage.engine)

    assert after.status is RunState.COMPLETED


def test_what_a_dead_worker_has_reserved_is_free_after_the_window(stage: Stage) -> None:
    limit = Limit("tokens/60:dead", 1000, timedelta(minutes=1))

    def take() -> bool:
        me = StepRunId(uuids.uuid7())
        return stage.records.transaction(lambda tx: tx.token_rates.admit(limit, me)) is not None

    assert [take() for _ in range(21)] == [True] * 20 + [False]
    back(stage, GONE)
    assert take()


def test_as_many_begin_at_once_as_there_is_room_for(stage: Stage) -> None:
    """Each reserves what such attempts have used; none of them has ended yet."""
    limit = Limit("tokens/60:many", 1000, timedelta(minutes=1))
    stage.records.transaction(lambda tx: tx.token_rates.charge({limit: 300}))
    first = stage.records.transaction(
        lambda tx: tx.token_rates.admit(limit, StepRunId(uuids.uuid7()))
    )
    assert first is not None
    stage.records.transaction(lambda tx: tx.token_rates.release([first]))

    def take(_: int) -> bool:
        me = StepRunId(uuids.uuid7())
        return stage.records.transaction(lambda tx: tx.token_rates.admit(limit, me)) is not None

    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(take, range(16)))

    assert sum(begun) == 3, "700 are left, and each uses 300"


def test_call_that_is_ended_twice_is_charged_once(stage: Stage) -> None:
    limit = Limit("tokens/60:twice", 1000, timedelta(minutes=1))
    caller, request_id = Caller(rates=(limit,)), uuids.uuid7()
    ended = EndedRequest(
        request_id,
        caller,
        RequestStatus.COMPLETED,
        Tokens(100, 50),
        cost_status=CostStatus.UNKNOWN,
    )

    def start(tx: SqlTransaction) -> None:
        tx.llm_requests.start([StartedRequest(request_id, caller, "fake", "model")])

    stage.records.transaction(start)
    for _ in range(2):
        stage.records.transaction(lambda tx: tx.llm_requests.end([ended]))

    assert rows(stage, "SELECT used, tokens FROM flow_token_uses") == [(150, 150)]


def test_rows_are_deleted_when_they_tell_nothing_any_more(stage: Stage) -> None:
    limit = Limit("tokens/0.02:short", 1000, timedelta(milliseconds=20))
    stage.records.transaction(lambda tx: tx.token_rates.charge({limit: 300}))

    def are_gone() -> bool:
        stage.sweep()
        return rows(stage, "SELECT 1 FROM flow_token_uses") == []

    wait_until(are_gone, what="the rows are deleted")


def test_program_waits_for_its_turn_like_others(stage: Stage) -> None:
    assert stage.play(program, question="why").result() > 2 * ANSWER


def test_paused_run_lets_others_go_first(stage: Stage) -> None:
    stage.play(by_model, question="a")
    held, after = stage.play(by_model, question="b"), stage.play(by_model, question="c")
    pause(stage.engine, held.id)
    back(stage, GONE)
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert (held.status, after.status) == (RunState.PAUSED, RunState.COMPLETED)

    back(stage, GONE)
    resume(stage.engine, held.id)
    stage.dispatcher.run(stage.engine)
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    row = stage.records.autocommit(
        lambda tx: tx.steps.by_id(node_id(held.id, "tests_rated_by_model"))
    )
    assert row is not None
    assert (held.status, row.attempt) == (RunState.COMPLETED, 1)
