"""Requests: runs that are asked for where their code is not; a worker starts each once."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import delete, select, update
from sqlalchemy.orm import InstrumentedAttribute

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.sql.tables import FlowDefinition, FlowRequest
from flowq.core.errors import DatabaseRefused, FlowNotFound, InvalidFlow, InvalidInput
from flowq.core.ids import RunId
from flowq.core.states import RunState
from flowq.engine.engine import Engine
from flowq.engine.model.actions import ActionKind, Face
from flowq.engine.model.requested import RequestOptions
from flowq.engine.registry.registry import Registry
from flowq.engine.runs.actors import acting
from flowq.engine.schedules.requested import (
    record_flows,
    recorded_flow,
    request_run,
    start_requested,
    withdraw,
)
from flowq.engine.sweeper.retention import collect
from flowq.engine.sweeper.schedules import ring_requested
from flowq.engine.sweeper.sweep import sweep
from tests.tools.playing import Stage

NAME = "tests.requested.job"


class Order(BaseModel):
    count: int = Field(ge=1)


@step
def double(order: Order) -> int:
    return 2 * order.count


@flow(name=NAME)
def job(order: Order) -> int:
    return double(order)


@flow(name="tests.requested.single", singleton="skip")
def single(value: int) -> Any:
    return double(Order(count=value))


class Scale(BaseModel):
    factor: float = float("inf")


@flow(name="tests.requested.endless")
def endless(most: float = float("inf"), scale: Scale = Scale()) -> Any:  # noqa: B008
    return double(Order(count=1))


@flow(name="tests.requested.picky")
def picky(code: Annotated[str, AfterValidator({}.__getitem__)]) -> Any:
    return double(Order(count=len(code)))


@pytest.fixture
def stage(records: SqlRecords) -> Iterator[Stage]:
    stage = Stage.on(records).recording(__name__)
    record_flows(stage.engine)
    yield stage
    with records.engine.begin() as connection:
        for table in (FlowDefinition, FlowRequest):
            connection.execute(table.__table__.delete())  # type: ignore[attr-defined]


def elsewhere(stage: Stage) -> Engine:
    """Return the engine of a process without the code."""
    return replace(stage.engine, registry=Registry())


def ask(stage: Stage, inputs: Any, name: str = NAME, **options: Any) -> RunId:
    with acting(Face.FLOWER, "ada"):
        return request_run(elsewhere(stage), name, inputs, RequestOptions(**options))


def status(stage: Stage, run_id: UUID) -> RunState | None:
    return stage.engine.records.autocommit(lambda tx: tx.runs.status(RunId(run_id)))


def test_a_worker_starts_the_run_once_with_who_asked(stage: Stage) -> None:
    run_id = ask(stage, {"order": {"count": 4}}, priority=7, user_id="u")
    assert status(stage, run_id) is None

    assert 1 == len(stage.dispatcher.due_now)
    stage.dispatcher.run(stage.engine)
    assert not start_requested(stage.engine, run_id)  # a second message

    run = stage.engine.records.autocommit(lambda tx: tx.runs.view(run_id))
    assert run is not None
    assert (RunState.COMPLETED, 7, "u") == (run.status, run.priority, run.user_id)
    (action,) = stage.engine.records.autocommit(lambda tx: tx.actions.of_run(run_id))
    assert (ActionKind.START, "ada (flower)") == (action.kind, str(action.actor))
    assert stage.engine.records.autocommit(lambda tx: tx.requested.find(run_id)) is None


def test_the_sweeper_asks_again_after_a_lost_message(stage: Stage) -> None:
    run_id = ask(stage, {"order": {"count": 1}})
    stage.dispatcher.clear()
    assert 0 == ring_requested(stage.engine)  # not yet
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flow_requests SET wake_at = created_at")

    assert 0 == ring_requested(elsewhere(stage))  # it does not know the flow
    assert 1 == ring_requested(stage.engine)
    assert 0 == ring_requested(stage.engine)  # not again at once
    stage.dispatcher.run(stage.engine)
    assert RunState.COMPLETED is status(stage, run_id)


def test_a_worker_without_the_flow_leaves_it_to_another(stage: Stage) -> None:
    run_id = ask(stage, {"order": {"count": 1}})
    assert not start_requested(elsewhere(stage), run_id)
    assert start_requested(stage.engine, run_id)


def test_what_the_worker_refuses_is_kept_with_the_reason(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = ask(stage, {"order": {"count": 0}})
    stage.dispatcher.run(stage.engine)
    wanted = stage.engine.records.autocommit(lambda tx: tx.requested.find(run_id))
    assert wanted is not None
    assert wanted.problem is not None
    assert "order.count: expected greater than or equal to 1, got 0" in wanted.problem
    assert "got 0" not in caplog.text  # inputs are not logged
    assert status(stage, run_id) is None
    assert not start_requested(stage.engine, run_id)


def test_a_singleton_that_runs_already_is_told(stage: Stage) -> None:
    first = ask(stage, {"value": 1}, "tests.requested.single")
    second = ask(stage, {"value": 1}, "tests.requested.single")
    assert start_requested(stage.engine, first)
    assert not start_requested(stage.engine, second)
    wanted = stage.engine.records.autocommit(lambda tx: tx.requested.find(second))
    assert wanted is not None
    assert "one run at a time" in str(wanted.problem)
    stage.dispatcher.run(stage.engine)


def test_requests_are_checked_where_they_are_made(stage: Stage) -> None:
    with pytest.raises(FlowNotFound, match="no worker has recorded"):
        ask(stage, {}, "tests.requested.other")
    with pytest.raises(InvalidInput, match="priority"):
        ask(stage, {"order": {"count": 1}}, priority=10)
    with pytest.raises(InvalidInput, match="greater than or equal to 1"):
        request_run(stage.engine, NAME, {"order": {"count": 0}}, RequestOptions())
    with pytest.raises(InvalidInput, match="refuses these inputs: KeyError"):
        request_run(stage.engine, "tests.requested.picky", {"code": "x"}, RequestOptions())
    with pytest.raises(FlowNotFound, match="runs documents"):
        ask(stage, {}, "flowq.playbook")
    assert () == stage.dispatcher.due_now

    run_id = ask(stage, {"order": {"count": 1}}, delay=timedelta(hours=1))
    assert withdraw(stage.engine, run_id)
    assert not withdraw(stage.engine, run_id)
    stage.dispatcher.run(stage.engine)
    assert status(stage, run_id) is None


def test_only_changed_flows_are_recorded_again(stage: Stage) -> None:
    schema = recorded_flow(stage.engine, NAME).input_schema
    assert ["order"] == list(schema["properties"])
    assert 0 == record_flows(stage.engine)
    assert 0 == record_flows(replace(stage.engine))  # another process with the same code
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flow_definitions SET input_schema = '{\"a\": 1}'")
    assert record_flows(replace(stage.engine)) > 0
    assert schema == recorded_flow(stage.engine, NAME).input_schema


def test_the_sweeper_records_flows_where_pages_may_ask_for_runs(stage: Stage) -> None:
    with stage.records.engine.begin() as connection:
        connection.execute(delete(FlowDefinition))
    policies = replace(stage.engine.policies, record_flows=False)
    sweep(replace(stage.engine, policies=policies), grace=timedelta(0))
    with pytest.raises(FlowNotFound):
        recorded_flow(stage.engine, NAME)
    sweep(replace(stage.engine), grace=timedelta(0))
    assert ["order"] == list(recorded_flow(stage.engine, NAME).input_schema["properties"])


def test_flows_that_cannot_be_described_do_not_stop_a_pass(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def undefined(_: str) -> dict[str, Any]:
        raise InvalidFlow("'Gone' is not defined")

    known = stage.engine.registry.flows["tests.requested.endless"]
    bad = replace(known, name="tests.requested.bad", input_schema=undefined)
    nan = replace(known, name="tests.requested.nan", input_schema=lambda _: {"x": float("nan")})
    flows = {one.name: one for one in (bad, nan, replace(known, name="tests.requested.good"))}
    engine = replace(stage.engine, registry=Registry(flows=flows))

    for _ in range(2):
        sweep(engine, grace=timedelta(0))

    schema = recorded_flow(engine, "tests.requested.good").input_schema
    assert ["most", "scale"] == list(schema["properties"])
    assert "default" not in schema["properties"]["most"]
    assert "default" not in schema["properties"]["scale"]
    assert "default" not in schema["properties"]["scale"]["properties"]["factor"]
    own = [one for one in caplog.records if one.name == record_flows.__module__]
    told = [one.getMessage() for one in own if one.levelname in ("WARNING", "ERROR")]
    assert ["bad: 'Gone' is not defined", "nan: the schema of its inputs is nan"] == [
        text.removeprefix("pages cannot start the flow tests.requested.").partition(",")[0]
        for text in told
    ]


def test_what_the_database_refuses_does_not_stop_a_pass(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Engine) -> int:
        raise DatabaseRefused("no")

    ask(stage, {"order": {"count": 1}})
    stage.dispatcher.clear()
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flow_requests SET wake_at = created_at")
    monkeypatch.setattr("flowq.engine.sweeper.sweep.record_flows", refuse)
    assert 1 == sweep(stage.engine, grace=timedelta(0))


def test_old_requests_and_flows_are_forgotten(stage: Stage) -> None:
    run_id = ask(stage, {"order": {"count": 1}})
    made_old(stage, FlowRequest.created_at, timedelta(hours=25))
    assert not start_requested(stage.engine, run_id)  # its message waited over a weekend
    assert stage.engine.records.autocommit(lambda tx: tx.requested.find(run_id)) is None

    made_old(stage, FlowDefinition.updated_at, timedelta(days=8))
    renewed = record_flows(replace(stage.engine, registry=only(stage, NAME)))
    assert 1 == renewed
    collect(stage.engine)
    with stage.records.engine.connect() as connection:
        assert [] == list(connection.execute(select(FlowRequest.id)))
        assert [(NAME,)] == list(connection.execute(select(FlowDefinition.flow_name)))


def only(stage: Stage, name: str) -> Registry:
    return Registry(flows={name: stage.engine.registry.flows[name]})


def made_old(stage: Stage, column: InstrumentedAttribute[datetime], age: timedelta) -> None:
    values = {column.key: datetime.now(UTC) - age}
    with stage.records.engine.begin() as connection:
        connection.execute(update(column.class_).values(values))


def test_a_kind_of_action_that_only_newer_code_knows_is_text(stage: Stage) -> None:
    run_id = ask(stage, {"order": {"count": 1}})
    stage.dispatcher.run(stage.engine)
    with stage.records.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flow_actions SET kind = 'shelve', face = 'phone'")
    (action,) = stage.engine.records.autocommit(lambda tx: tx.actions.of_run(run_id))
    assert ("shelve", "ada (phone)") == (action.kind, str(action.actor))
