"""The same run for the same key, whoever asks; and runs that begin if the caller commits."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any, assert_type
from uuid import UUID

import pytest
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flowq import Run, bootstrap, errors, flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.repository import RUNS
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.runs import submission as runs
from flowq.engine.runs.options import SubmitOptions
from tests.tools.playing import Stage
from tests.tools.session.processes import run

ROOT = Path(__file__).parents[4]
SOON = timedelta(minutes=5)


class Labels(BaseModel):
    names: set[int]


@step
def double(value: int) -> int:
    return 2 * value


@flow
def doubled(value: int) -> int:
    return double(value)


@flow
def other(value: int) -> int:
    return double(value)


@flow
def mapped(values: list[int]) -> list[int]:
    return double.map(values)


@flow
def grouped(groups: set[frozenset[int]], labels: Labels) -> None:
    double(len(groups) + len(labels.names))


@flow
def awkward(session: str, deadline: int) -> str:
    return session * deadline


def submit(stage: Stage, value: int = 1, **options: Any) -> RunId:
    chosen: SubmitOptions = options  # type: ignore[assignment]  # tests give wrong ones too
    return runs.submit(stage.engine, doubled.type, {"value": value}, **chosen)


def status(stage: Stage, run_id: RunId) -> RunState | None:
    return stage.records.autocommit(lambda tx: tx.runs.status(run_id))


def sent(stage: Stage) -> set[RunId]:
    return {one.message.run_id for one in stage.dispatcher.waiting if one.message is not None}


@pytest.fixture
def session(records: SqlRecords) -> Iterator[Session]:
    """A session of the user's own, with an engine of their own."""
    engine = create_engine(records.url)
    with Session(engine) as session:
        yield session
    engine.dispose()


# --- Idempotency ---------------------------------------------------------------------------------


def test_same_key_gives_the_same_run(stage: Stage) -> None:
    first = submit(stage, idempotency_key="once")
    again = submit(stage, idempotency_key="once")

    assert again == first
    assert len(stage.dispatcher.waiting) == 1
    stage.dispatcher.run(stage.engine)
    assert submit(stage, idempotency_key="once") == first
    assert status(stage, first) is RunState.COMPLETED


def test_key_belongs_to_its_flow(stage: Stage) -> None:
    first = submit(stage, idempotency_key="shared")

    assert first != runs.submit(stage.engine, other.type, {"value": 1}, idempotency_key="shared")


def test_key_of_a_run_with_other_inputs_is_refused_and_names_it(stage: Stage) -> None:
    first = submit(stage, 1, idempotency_key="changed")

    with pytest.raises(errors.InvalidInput, match=str(first)):
        submit(stage, 2, idempotency_key="changed")

    assert len(stage.dispatcher.waiting) == 1


def test_same_sets_in_another_order_are_the_same_inputs(stage: Stage) -> None:
    # These fall on one place of a set's table, so that the first to come stands first.
    one, other = [0, 8], [8, 0]
    assert list(set(one)) != list(set(other))

    ids = {
        runs.submit(
            stage.engine,
            grouped.type,
            {"groups": {frozenset(order), frozenset([3])}, "labels": {"names": order}},
            idempotency_key="sets",
        )
        for order in (one, other)
    }

    assert len(ids) == 1
    with pytest.raises(errors.InvalidInput, match="other inputs"):
        runs.submit(
            stage.engine,
            grouped.type,
            {"groups": {frozenset(one), frozenset([3])}, "labels": {"names": [0, 9]}},
            idempotency_key="sets",
        )


def test_of_many_that_ask_at_once_one_inserts(stage: Stage, records: SqlRecords) -> None:
    together = Barrier(8)

    def one(_: int) -> RunId:
        together.wait()
        return submit(stage, idempotency_key="raced")

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(one, range(8)))

    assert len(ids) == 1
    with records.engine.connect() as connection:
        query = text("SELECT count(*) FROM flow_runs WHERE idempotency_key = 'raced'")
        assert connection.execute(query).scalar() == 1
    assert len(stage.dispatcher.waiting) == 1


def test_many_runs_have_a_key_each(stage: Stage) -> None:
    inputs = [{"value": n} for n in range(30)]
    keys = [f"many-{n}" for n in range(30)]
    first = runs.submit_many(stage.engine, doubled.type, inputs[:20], idempotency_keys=keys[:20])
    again = runs.submit_many(stage.engine, doubled.type, inputs, idempotency_keys=keys)

    assert again[:20] == first
    assert len(set(again)) == 30
    assert len(stage.dispatcher.waiting) == 30


@pytest.mark.parametrize("keys", [["a"], ["a", "a"]])
def test_keys_that_do_not_fit_the_inputs_are_refused(stage: Stage, keys: list[str]) -> None:
    inputs = [{"value": 1}, {"value": 2}]
    with pytest.raises(errors.InvalidInput, match="for 2 runs"):
        runs.submit_many(stage.engine, doubled.type, inputs, idempotency_keys=keys)


def test_refused_input_among_many_is_named(stage: Stage) -> None:
    inputs: list[dict[str, Any]] = [{"value": 1}, {"value": "many"}]

    with pytest.raises(errors.InvalidInput, match=r"inputs\[1\]"):
        runs.submit_many(stage.engine, doubled.type, inputs)

    assert stage.dispatcher.waiting == ()


@pytest.mark.parametrize(
    "options, says",
    [
        ({"idempotency_key": "k" * 201}, "limit is 200"),
        ({"idempotency_key": ""}, "is empty"),
        ({"idempotency_key": 7}, "not text"),
        ({"user_id": "u" * 201}, "limit is 200"),
        ({"user_id": "nul\0"}, "databases cannot store"),
        ({"metadata": [1]}, "not a dict"),
        ({"metadata": {"x": object()}}, "stored as JSON"),
        ({"deadline": 5}, "not a time"),
        ({"deadline": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the point
        ({"deadline": timedelta(seconds=-1)}, "between now"),
    ],
)
def test_option_that_does_not_fit_is_refused(
    stage: Stage, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(errors.InvalidInput, match=says):
        submit(stage, **options)

    assert stage.dispatcher.waiting == ()


# --- Deadline ------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [SOON, "datetime"])
def test_deadline_is_recorded(stage: Stage, records: SqlRecords, given: Any) -> None:
    now = datetime.now(UTC)
    run_id = submit(stage, deadline=now + SOON if given == "datetime" else given)

    with Session(records.engine) as session:
        run = records.within(session).runs.by_id(run_id)
        assert run is not None
        assert run.deadline is not None
        assert abs(run.deadline - now - SOON) < timedelta(seconds=30)


# --- The caller's transaction --------------------------------------------------------------------


def test_run_begins_when_the_caller_commits(stage: Stage, session: Session) -> None:
    run_id = submit(stage, session=session)

    assert stage.dispatcher.waiting == ()
    session.commit()

    assert status(stage, run_id) is RunState.RUNNING
    stage.dispatcher.run(stage.engine)
    assert status(stage, run_id) is RunState.COMPLETED


def test_nothing_is_left_when_the_caller_rolls_back(stage: Stage, session: Session) -> None:
    run_id = submit(stage, session=session)
    session.rollback()

    assert stage.dispatcher.waiting == ()
    assert status(stage, run_id) is None
    with pytest.raises(errors.RunNotFound):
        stage.engine.definitions.get(run_id)


def test_savepoint_that_is_rolled_back_takes_its_runs_with_it(
    stage: Stage, session: Session
) -> None:
    kept = submit(stage, 1, session=session)
    savepoint = session.begin_nested()
    undone = submit(stage, 2, session=session)
    savepoint.rollback()
    released = session.begin_nested()
    also_kept = submit(stage, 3, session=session)
    released.commit()
    assert stage.dispatcher.waiting == ()
    session.commit()

    assert sent(stage) == {kept, also_kept}
    assert status(stage, undone) is None


def test_session_may_be_used_again(stage: Stage, session: Session) -> None:
    submit(stage, 1, session=session)
    session.rollback()
    second = submit(stage, 2, session=session)
    session.commit()
    session.execute(text("SELECT 1"))
    session.commit()

    assert sent(stage) == {second}


def test_what_has_to_be_decided_first_is_decided_after_the_commit(
    stage: Stage, session: Session
) -> None:
    inputs: list[dict[str, Any]] = [{"values": [1, 2]}, {"values": []}]
    ids = runs.submit_many(stage.engine, mapped.type, inputs, session=session)
    session.commit()
    stage.dispatcher.run(stage.engine)

    assert [status(stage, one) for one in ids] == [RunState.COMPLETED] * 2


def test_key_holds_within_a_transaction_too(stage: Stage, session: Session) -> None:
    first = submit(stage, idempotency_key="within")
    again = submit(stage, idempotency_key="within", session=session)
    session.commit()

    assert again == first
    assert len(stage.dispatcher.waiting) == 1


def test_scoped_session_is_used_as_its_session(stage: Stage, records: SqlRecords) -> None:
    engine = create_engine(records.url)
    scoped = scoped_session(sessionmaker(engine))
    run_id = submit(stage, session=scoped)
    scoped.commit()
    scoped.remove()
    engine.dispose()

    assert status(stage, run_id) is RunState.RUNNING
    assert len(stage.dispatcher.waiting) == 1


def test_session_on_another_database_is_refused(stage: Stage, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/other.db")
    with Session(engine) as elsewhere, pytest.raises(errors.InvalidInput, match="cannot span both"):
        submit(stage, session=elsewhere)
    engine.dispose()


@pytest.mark.parametrize(
    "wrong, says", [("text", "not an SQLAlchemy"), (Session(), "not bound to")]
)
def test_what_is_no_session_is_refused(stage: Stage, wrong: object, says: str) -> None:
    with pytest.raises(errors.InvalidInput, match=says):
        submit(stage, session=wrong)


KILLED = """
import sys
from flowq import bootstrap
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from tests.integration.engine.runs.test_submission import doubled
from tests.tools.faults.points import install
from tests.tools.faults.text import hook, parse

install(hook(parse("before_publish:kill"), bootstrap.settings().home / "faults"))
session = Session(create_engine(bootstrap.engine().records.url))
run = doubled.enqueue(value=4, session=session)
print(run.id, flush=True)
session.commit()
"""


def test_run_of_a_process_that_dies_after_its_commit_is_sent_by_the_sweeper(
    stage: Stage, records: SqlRecords, tmp_path: Path
) -> None:
    url = records.url.render_as_string(hide_password=False)
    environment = os.environ | {
        "FLOWQ_HOME": str(tmp_path),
        "FLOWQ_DATABASE_URL": url,
        "FLOWQ_REDIS_URL": "redis://127.0.0.1:1/0",
        "PYTHONPATH": str(ROOT),
    }
    died = run([sys.executable, "-c", KILLED], cwd=ROOT, env=environment)
    run_id = RunId(UUID(died.stdout.strip()))

    assert died.returncode == -signal.SIGKILL
    assert status(stage, run_id) is RunState.RUNNING
    with records.engine.connect() as connection:
        connection.execute(
            text("UPDATE flow_step_runs SET wake_at = created_at WHERE status = 'queued'")
        )
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert status(stage, run_id) is RunState.COMPLETED


# --- As it is written ----------------------------------------------------------------------------


@pytest.fixture
def engine_of_the_process(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    return stage


def test_options_are_given_beside_the_inputs(
    engine_of_the_process: Stage, session: Session
) -> None:
    first = doubled.enqueue(7, idempotency_key="beside")
    again = doubled.enqueue(value=7, idempotency_key="beside", session=session)
    session.rollback()
    third = doubled.options(idempotency_key="beside").enqueue(value=7)

    assert first.id == again.id == third.id


def test_types_of_options_and_inputs_are_known(
    engine_of_the_process: Stage, session: Session
) -> None:
    # mypy reads this too: an `ignore` that nothing needs is an error to it.
    assert_type(doubled.enqueue(1), Run[int])
    run = assert_type(doubled.enqueue(1, user_id="anna", metadata={"order": 17}), Run[int])
    assert_type(doubled.enqueue(value=1, metadata={"order": 17}), Run[int])
    assert_type(doubled.enqueue(1, idempotency_key=None, deadline=SOON), Run[int])
    assert_type(doubled.enqueue(1, deadline=SOON), Run[int])
    assert_type(doubled.enqueue(1, session=session, user_id=None), Run[int])
    session.rollback()

    assert run.view().inputs == {"value": 1}
    assert run.view().user_id == "anna"
    with pytest.raises(errors.InvalidInput):
        doubled.enqueue("one")  # type: ignore[call-overload]
    with pytest.raises(errors.InvalidInput):
        doubled.enqueue(wrong=1)  # type: ignore[call-overload]
    with pytest.raises(errors.InvalidInput):
        doubled.enqueue(1, user_id=7)  # type: ignore[call-overload]
    with pytest.raises(errors.InvalidInput):
        doubled.options(user_id="anna").enqueue("one")  # type: ignore[call-overload]


def test_input_of_the_flow_wins_over_an_option_of_its_name(
    engine_of_the_process: Stage, records: SqlRecords
) -> None:
    run = awkward.options(deadline=SOON).enqueue(session="ab", deadline=2)
    view = run.view()

    assert view.inputs == {"session": "ab", "deadline": 2}
    with records.engine.connect() as connection:
        query = RUNS.select().where(RUNS.c.id == run.id)
        assert connection.execute(query).one().deadline is not None


def test_handle_says_that_its_transaction_is_not_committed(
    engine_of_the_process: Stage, session: Session
) -> None:
    run = doubled.enqueue(value=1, session=session)

    with pytest.raises(errors.RunNotFound, match="not committed"):
        _ = run.status
    session.commit()
    assert run.status is RunState.RUNNING
