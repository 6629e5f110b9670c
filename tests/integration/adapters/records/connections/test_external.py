"""Which sessions of the caller's are taken, and what is left when something goes wrong in one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flowq import errors
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.runs import submission
from tests.integration.engine.runs.test_submission import doubled, mapped, sent, status, submit
from tests.tools import servers
from tests.tools.playing import Stage


class Base(DeclarativeBase):
    pass


class Order(Base):
    """A row of the caller's, whose table is not there."""

    __tablename__ = "orders_of_nobody"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def engine(records: SqlRecords) -> Iterator[Engine]:
    """An engine of the user's own."""
    engine = create_engine(records.url)
    yield engine
    engine.dispose()


def submit_keyed(stage: Stage, values: list[int], keys: list[str], session: Session) -> list[RunId]:
    inputs: list[dict[str, Any]] = [{"value": value} for value in values]
    return submission.submit_many(
        stage.engine, doubled.type, inputs, idempotency_keys=keys, session=session
    )


def count(records: SqlRecords) -> int:
    with records.engine.connect() as connection:
        found: int = connection.execute(text("SELECT count(*) FROM flow_runs")).scalar_one()
    return found


@pytest.mark.parametrize("where", ["engine", "connection"])
def test_session_in_autocommit_is_refused(
    stage: Stage, records: SqlRecords, engine: Engine, where: str
) -> None:
    before = count(records)
    options = {"isolation_level": "AUTOCOMMIT"}
    if where == "engine":
        session = Session(engine.execution_options(**options))
    else:
        session = Session(engine)
        session.connection(execution_options=options)

    with session, pytest.raises(errors.InvalidInput, match="AUTOCOMMIT") as refused:
        submit(stage, session=session)

    assert "isolation_level" in str(refused.value.hint)
    assert count(records) == before
    assert stage.dispatcher.waiting == ()


def test_sqlite_engine_that_leaves_begin_to_an_event_is_taken(stage: Stage, engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("only SQLite needs that")

    @event.listens_for(engine, "connect")
    def leave(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    with Session(engine) as session:
        undone = submit(stage, session=session)
        session.rollback()
        kept = submit(stage, session=session)
        session.commit()

    assert sent(stage) == {kept}
    assert status(stage, undone) is None


def test_conflicting_key_among_many_is_found_before_anything_is_inserted(
    stage: Stage, records: SqlRecords, engine: Engine
) -> None:
    submit(stage, 1, idempotency_key="conflict")
    before, waiting = count(records), stage.dispatcher.waiting

    with Session(engine) as session:
        with pytest.raises(errors.InvalidInput, match="other inputs"):
            submit_keyed(stage, [5, 2, 6], ["fresh-1", "conflict", "fresh-2"], session)
        session.commit()

    assert count(records) == before
    assert stage.dispatcher.waiting == waiting


def test_what_an_insert_that_broke_off_has_left_is_sent_when_it_is_committed(
    stage: Stage, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the check and the insert somebody else takes the key: found only after the insert.
    taken = submission._taken
    calls: list[object] = []

    def late(tx: Any, starts: Any) -> dict[RunId, RunId]:
        calls.append(starts)
        if len(calls) == 2:
            raise errors.InvalidInput("a run has the key, with other inputs")
        return taken(tx, starts)

    monkeypatch.setattr(submission, "_taken", late)
    with Session(engine) as session:
        with pytest.raises(errors.InvalidInput):
            submit_keyed(stage, [1, 2], ["broke-1", "broke-2"], session)
        session.commit()

    assert len(sent(stage)) == 2
    assert [status(stage, one) for one in sent(stage)] == [RunState.RUNNING] * 2


@pytest.mark.parametrize("whose", ["session", "flowq"])
def test_refusal_shows_no_password(postgres_url: str, sqlite_url: str, whose: str) -> None:
    secret = servers.parse(postgres_url).update_query_dict({"password": "s3cret"})
    postgres = secret.render_as_string(hide_password=False)
    own, theirs = (sqlite_url, postgres) if whose == "session" else (postgres, sqlite_url)
    records, engine = SqlRecords(own), create_engine(theirs)

    with Session(engine) as session, pytest.raises(errors.InvalidInput) as refused:
        submit(Stage.on(records), session=session)
    engine.dispose()
    records.close()

    assert "cannot span both" in str(refused.value)
    assert str(secret.database) in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_database_of_the_same_name_on_another_server_is_refused(postgres_url: str) -> None:
    records = SqlRecords(postgres_url)
    name = str(records.url.database)
    with servers.postgres() as other:
        servers.administer(other, "CREATE DATABASE {}", name)
        engine = create_engine(servers.database(other, name))
        with Session(engine) as session, pytest.raises(errors.InvalidInput, match="span both"):
            submit(Stage.on(records), session=session)
        engine.dispose()
    records.close()


def test_tables_in_another_schema_are_refused(postgres_url: str) -> None:
    records = SqlRecords(postgres_url)
    engine = create_engine(postgres_url)
    with Session(engine) as session:
        session.execute(text("CREATE SCHEMA tenant"))
        session.execute(text("CREATE TABLE tenant.flow_runs (LIKE public.flow_runs)"))
        session.execute(text("SET LOCAL search_path TO tenant"))
        with pytest.raises(errors.InvalidInput, match="schema tenant, flowq in the schema public"):
            submit(Stage.on(records), session=session)
    engine.dispose()
    records.close()


def test_other_address_of_the_same_database_is_taken(
    stage: Stage, records: SqlRecords, tmp_path: Path
) -> None:
    if records.engine.dialect.name == "sqlite":
        link = tmp_path / "link.db"
        link.symlink_to(Path(str(records.url.database)).resolve())
        url = records.url.set(database=str(link))
    else:
        url = records.url.update_query_dict({"application_name": "other"})
        link = tmp_path / "socket"
        link.symlink_to(str(records.url.query["host"]))
        url = url.update_query_dict({"host": str(link)})
    engine = create_engine(url)
    with Session(engine) as session:
        run_id = submit(stage, session=session)
        session.commit()
    engine.dispose()

    assert sent(stage) == {run_id}


def test_place_that_was_another_before_a_restart_is_asked_anew(
    stage: Stage, records: SqlRecords, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(engine) as session:
        submit(stage, session=session)
        assert records._place is not None
        stale = type(records._place)("of an earlier start", records._place.schema)
        monkeypatch.setattr(records, "_place", stale)
        submit(stage, session=session)
        session.commit()

    assert len(sent(stage)) == 2


def test_error_of_the_callers_own_rows_stays_theirs(stage: Stage, engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Order(id=1))
        with pytest.raises(DBAPIError, match="orders_of_nobody"):
            submit(stage, session=session)


def test_connection_is_refused_with_what_to_give(stage: Stage, engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(errors.InvalidInput) as refused:
        submit(stage, session=connection)

    assert "Session(bind=connection)" in str(refused.value.hint)


def test_session_within_a_transaction_of_its_connection_is_left_to_the_sweeper(
    stage: Stage, engine: Engine
) -> None:
    with engine.begin() as connection, Session(bind=connection) as session:
        one = submit(stage, session=session)
        inputs: list[dict[str, Any]] = [{"values": [1, 2]}, {"values": []}]
        ids = [one, *submission.submit_many(stage.engine, mapped.type, inputs, session=session)]
        session.commit()
        assert sent(stage) == set()
    assert stage.dispatcher.waiting == ()

    with engine.begin() as connection:
        connection.execute(
            text("UPDATE flow_step_runs SET wake_at = created_at WHERE status = 'queued'")
        )
    stage.sweep()
    stage.dispatcher.run(stage.engine)
    assert [status(stage, each) for each in ids] == [RunState.COMPLETED] * 3
