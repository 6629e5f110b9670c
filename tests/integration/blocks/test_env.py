"""`Env` and `EnvManager`: faces over the engine, without a state of their own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from flowq.blocks import BlockFactory, DocumentInvalid, Env, EnvManager, PuppyException
from flowq.engine.runs.submission import submit
from flowq.errors import InvalidInput
from tests.tools.documents import HELLO, document, failing, modify
from tests.tools.http_service import working
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

ANN, BOB = {"user_id": "ann"}, {"user_id": "bob"}
FAILING = document(
    {
        "good": modify("copy", {"1": "a"}, {"2": "b"}, content="{{a}}"),
        "bad": failing({"2": "b"}, {"3": "c"}),
    },
    {"1": "x", "2": "", "3": ""},
)


@pytest.fixture
def stage(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The engine of this process; a thread runs the steps."""
    stage = Stage.on(records)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    monkeypatch.setattr(bootstrap, "engine_here", lambda: (stage.engine, None))
    with working(stage):
        yield stage


async def collected(stream: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one async for one in stream]


def test_two_managers_know_the_same_tasks(stage: Stage) -> None:
    async def use() -> None:
        task_id = await EnvManager().submit_workflow(HELLO, ANN)
        other = EnvManager()
        one, two, events = await asyncio.gather(
            collected(EnvManager().get_results_stream(task_id, ANN)),
            collected(other.get_results_stream(task_id, ANN)),
            collected(other.get_raw_events_stream(task_id, ANN)),
        )
        assert one == two
        assert [2, 1] == [frame["data"]["yield_count"] for frame in one[:-1]]
        assert ("ann", "COMPLETED") == (one[-1]["user_id"], one[-1]["task_status"]["status"])
        assert ["WORKFLOW_STARTED", "WORKFLOW_COMPLETED"] == [
            events[0]["event_type"],
            events[-1]["event_type"],
        ]
        assert one[-1]["task_status"] == await other.get_task_status(task_id, ANN)

    asyncio.run(use())


def test_tasks_of_others_and_unknown_ones_are_refused(stage: Stage) -> None:
    async def use() -> None:
        manager = EnvManager()
        task_id = await manager.submit_workflow(HELLO, ANN)
        for wrong, user, text in (
            (task_id, BOB, f"Unauthorized access to task {task_id}"),
            ("x", ANN, "Task x not found"),
        ):
            with pytest.raises(PuppyException, match=text):
                await collected(manager.get_results_stream(wrong, user))
            with pytest.raises(PuppyException, match=text):
                await manager.get_task_status(wrong, user)
        with pytest.raises(DocumentInvalid):
            await manager.submit_workflow({"edges": {}}, ANN)

    asyncio.run(use())


def test_stored_block_of_a_client_is_used_by_a_task(stage: Stage) -> None:
    """As docs/documents/blocks.md shows it."""

    async def use() -> None:
        manager, text = EnvManager(), "x" * (1024 * 1024 + 1)
        source = BlockFactory.create_block("1", {"type": "text", "data": {"content": text}})
        async for _ in source.persist(manager.storage, "ann"):
            pass
        given = {"type": source.type, "storage_class": source.storage_class, "data": source.data}
        copy = modify("copy", {"1": "a"}, {"2": "b"}, content="{{a}}")
        task_id = await manager.submit_workflow(document({"e": copy}, {"1": given, "2": ""}), ANN)
        frame, _ = await collected(manager.get_results_stream(task_id, ANN))
        made = BlockFactory.create_block("2", {"data": frame["data"]["data"]["2"]})
        await made.resolve(manager.storage)
        assert text == made.get_content()

    asyncio.run(use())


def test_callback_gets_a_record_for_each_edge(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    records: list[dict[str, Any]] = []

    def callback(record: dict[str, Any]) -> None:
        records.append(record)
        raise RuntimeError("the callback is broken")

    with caplog.at_level(logging.WARNING):
        task_id = asyncio.run(EnvManager().submit_workflow(FAILING, ANN, callback))
        wait_until(lambda: len(records) == 2, timeout=60, what="both edges are reported")

    assert [("good", True), ("bad", False)] == [
        (one["edge_id"], one["execution_success"]) for one in records
    ]
    assert [(task_id, "modify"), (task_id, "load")] == [
        (one["task_id"], one["edge_type"]) for one in records
    ]
    assert all(one["execution_time"] >= 0 for one in records)
    assert records[0]["error_info"] is None
    assert "PUPPYENGINE_ERROR" in records[1]["error_info"]
    assert "the callback for edge usage has failed" in caplog.text


def test_failed_task_keeps_what_its_other_edges_have_made(stage: Stage) -> None:
    async def use() -> None:
        manager = EnvManager()
        task_id = await manager.submit_workflow(FAILING, ANN)
        events = await collected(manager.get_raw_events_stream(task_id, ANN))
        kinds = [event["event_type"] for event in events]
        assert ("WORKFLOW_ERROR", 1) == (kinds[-1], kinds.count("EDGE_ERROR"))
        assert "x" == next(event["content"] for event in events if "content" in event)
        status = await manager.get_task_status(task_id, ANN)
        assert ("FAILED", 2, 3) == tuple(
            status[key] for key in ("status", "processed_blocks", "total_blocks")
        )

    asyncio.run(use())


def test_cleanup_deletes_tasks_and_no_other_runs(stage: Stage) -> None:
    from flowq import flow, step

    @step
    def one() -> int:
        return 1

    @flow
    def plain() -> int:
        return one()

    async def use() -> None:
        manager = EnvManager()
        task_id = await manager.submit_workflow(HELLO, ANN)
        other = submit(stage.engine, plain.type, {})
        await collected(manager.get_results_stream(task_id, ANN))
        wait_until(lambda: _has_ended(stage, other), timeout=60, what="the run of a flow ends")

        assert 0 == await manager.cleanup_old_tasks(hours=24)
        assert 1 == await manager.cleanup_old_tasks(hours=-1 / 60)
        with pytest.raises(PuppyException, match="not found"):
            await manager.get_task_status(task_id, ANN)
        assert _has_ended(stage, other)

    asyncio.run(use())


def _has_ended(stage: Stage, run_id: Any) -> bool:
    run = stage.records.autocommit(lambda tx: tx.runs.head(run_id))
    return run is not None and run.completed_at is not None


def test_an_env_runs_once_for_one_id(stage: Stage) -> None:
    async def use() -> None:
        one = await collected(Env("env-1", HELLO, ANN).run())
        again = await collected(Env("env-1", HELLO, ANN).run())
        assert one == again
        made = {event["block_id"]: event["content"] for event in one if "block_id" in event}
        assert {"3": "Hello Ada!", "4": ["red", "green", "blue"], "5": "red"} == made

    asyncio.run(use())


def test_documents_of_an_env_are_checked_first(stage: Stage) -> None:
    with pytest.raises(DocumentInvalid):
        asyncio.run(collected(Env("env-2", {"blocks": {}, "edges": {}}).run()))


@pytest.mark.usefixtures("stage")
def test_an_id_belongs_to_one_document() -> None:
    """With another content it is refused, and nothing runs."""
    asyncio.run(collected(Env("env-4", document({}, {"1": "a"}), ANN).run()))
    with pytest.raises(InvalidInput, match="env-4"):
        asyncio.run(collected(Env("env-4", document({}, {"1": "b"}), ANN).run()))


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize(
    "wrong", ["ann", {}, {"user": "ann"}, {"user_id": None}, {"user_id": ""}, {"user_id": True}, 5]
)
def test_who_asks_has_to_say_so(wrong: Any) -> None:
    """A misspelt key makes nobody the operator, who may see all tasks."""
    task = "01a1fc9d-1e67-70ac-baf0-abf1d016a2cb"
    for call in (
        lambda: asyncio.run(EnvManager().submit_workflow(HELLO, wrong)),
        lambda: asyncio.run(EnvManager().get_task_status(task, wrong)),
        lambda: asyncio.run(collected(EnvManager().get_results_stream(task, wrong))),
        lambda: Env("env-3", HELLO, wrong),
    ):
        with pytest.raises(InvalidInput, match="which says no user") as refusal:
            call()
        assert "user_id" in str(refusal.value.hint)
