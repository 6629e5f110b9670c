"""Who may wait for a run: nobody who holds a worker's process meanwhile, unless it says so."""

import asyncio
import contextvars
import logging
from datetime import UTC, datetime
from uuid import UUID

from flowq.core.errors import WouldBlock
from flowq.core.ids import RunId, StepRunId
from flowq.engine.replay import Execution, Returned
from flowq.engine.runtime.blocking import allow_waiting, would_block
from flowq.engine.runtime.context import StepContext, enter

RUN = RunId(UUID("0199b1c2-0000-7000-8000-000000000001"))
STEP = StepContext(
    RUN,
    StepRunId(UUID("0199b1c2-0000-7000-8000-000000000002")),
    "parse[3]",
    3,
    1,
    "key",
    logging.LoggerAdapter(logging.getLogger()),
)


def asked(*, serves_tasks: bool = False) -> WouldBlock | None:
    return would_block(RUN, "shop.child", lambda: serves_tasks)


def test_client_may_wait() -> None:
    assert asked() is None


def test_celery_worker_may_not_wait() -> None:
    error = asked(serves_tasks=True)

    assert error is not None
    assert "shop.child" in error.message
    assert "allow_waiting" in str(error.hint)


def test_step_may_not_wait_and_is_named() -> None:
    def within_step() -> WouldBlock | None:
        enter(STEP)
        return asked()

    error = contextvars.copy_context().run(within_step)

    assert error is not None
    assert "'parse[3]'" in error.message


def test_async_step_may_wait_where_it_says_so_also_in_its_tasks() -> None:
    async def step() -> list[WouldBlock | None]:
        enter(STEP)

        async def look() -> WouldBlock | None:
            return asked()

        with allow_waiting():
            allowed = [*await asyncio.gather(look(), look()), await asyncio.to_thread(asked)]
        return [*allowed, asked()]

    *allowed, after = asyncio.run(step())

    assert allowed == [None, None, None]
    assert after is not None


def test_program_is_advised_to_await_the_flow() -> None:
    async def program() -> str:
        error = asked()
        assert error is not None
        return str(error)

    execution = Execution(program, {}, run_id=RUN, started_at=datetime.now(UTC))

    end = execution.run().end
    assert isinstance(end, Returned)
    assert "await the flow" in end.value
