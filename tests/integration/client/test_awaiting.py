"""The client in async code: what blocks elsewhere is awaited, and the event loop goes on."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import flowq
from flowq import BaseFlow, Run, bootstrap, errors, flow, step
from flowq.core.states import RunState
from tests.tools.playing import Stage


@step
def double(value: int) -> int:
    if value < 0:
        raise ValueError("below zero")
    return 2 * value


@flow(name="tests.async.doubled")
def doubled(value: int) -> int:
    return double(value)


@flow(name="tests.async.approval")
async def approval() -> str:
    return await flowq.signal("say", str)


class Twice(BaseFlow):
    flow_name = "tests.async.twice"

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"twice": 2 * inputs["value"]}


@pytest.fixture
def played(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The client uses the stage's engine; a thread of its own does all that there is to do."""
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.01):
            stage.dispatcher.run(stage.engine)

    thread = threading.Thread(target=work)
    thread.start()
    yield stage
    over.set()
    thread.join()


def run(work: Coroutine[Any, Any, Any]) -> None:
    """Run a test's coroutine; nothing in it may hold the event loop for long."""

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 2.0
        await asyncio.wait_for(work, 300)

    asyncio.run(watched())


def test_runs_are_started_and_awaited(played: Stage) -> None:
    async def main() -> None:
        first: Run[int] = await doubled.aenqueue(2)
        others = await doubled.aenqueue_many([{"value": value} for value in range(20)])
        assert 4 == await first.aresult(60)
        assert [2 * n for n in range(20)] == await asyncio.gather(
            *(one.aresult(60) for one in others)
        )
        assert RunState.COMPLETED is await first.await_end(60)
        assert first == await Run.aget(first.id)
        assert 1 == (await first.aview()).done
        twice = await Twice.aenqueue({"value": 4})
        assert {"twice": 8} == await twice.aresult(60)

    run(main())


def test_errors_are_those_of_the_synchronous_client(played: Stage) -> None:
    async def main() -> None:
        with pytest.raises(errors.InvalidInput, match="value"):
            await doubled.aenqueue("no number")  # type: ignore[call-overload]
        failing = await doubled.aenqueue(-1)
        with pytest.raises(errors.RunFailed, match="below zero"):
            await failing.aresult(60)
        first = await doubled.aenqueue(1, idempotency_key="async")
        assert first == await doubled.aenqueue(1, idempotency_key="async")

    run(main())


def test_waiting_run_is_signalled_or_cancelled(played: Stage) -> None:
    async def main() -> None:
        waiting, other = await approval.aenqueue(), await approval.aenqueue()
        with pytest.raises(errors.ResultTimeout, match=r"still running after 0\.2 s"):
            await waiting.aresult(0.2)
        assert RunState.PAUSED is await other.apause("a moment")
        assert RunState.RUNNING is await other.aresume()
        await waiting.asend_signal("say", "go")
        assert "go" == await waiting.aresult(60)
        assert await other.acancel("no need") in {RunState.CANCELLING, RunState.CANCELLED}
        with pytest.raises(errors.RunCancelled, match="no need"):
            await other.aresult(60)

    run(main())


def test_run_begins_with_the_transaction_of_an_async_session(played: Stage) -> None:
    if played.records.url.get_backend_name() == "sqlite":
        pytest.skip("an async driver of SQLite is not installed")

    async def main() -> None:
        engine = create_async_engine(played.records.url)
        async with AsyncSession(engine) as session:
            undone = await doubled.aenqueue(3, session=session)
            await session.rollback()
            kept = await doubled.aenqueue(4, session=session)
            await session.commit()
        await engine.dispose()
        assert 8 == await kept.aresult(60)
        with pytest.raises(errors.RunNotFound):
            await undone.aresult(60)

    run(main())


def test_session_that_blocks_is_refused(played: Stage) -> None:
    async def main() -> None:
        with pytest.raises(errors.InvalidInput, match="blocks the event loop"):
            await doubled.aenqueue(1, session=Session())

    run(main())
