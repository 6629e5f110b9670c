"""The client in async code: nothing here blocks the event loop.

The engine is synchronous. Short calls run in a thread of the loop's pool;
`flowq.engine.runtime.run_ends` waits for the end of a run, which may take long.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from flowq import bootstrap
from flowq.client.events import refuse_to_hold_a_worker
from flowq.core.errors import InvalidInput
from flowq.core.ids import RunId
from flowq.core.states import RunState

T = TypeVar("T")


async def within(session: Any, work: Callable[..., T]) -> T:
    """Run `work` in a thread, or in the transaction of an `AsyncSession`.

    Args:
        session: An `AsyncSession` or `AsyncConnection`; None for a transaction of its own.
        work: Called with the synchronous `session=` if there is one.

    Raises:
        InvalidInput: the session is not an async one.
    """
    if session is None:
        return await asyncio.to_thread(work)
    run_sync = getattr(session, "run_sync", None)
    if run_sync is None:
        raise InvalidInput(
            f"session= is a {type(session).__qualname__}, which blocks the event loop",
            hint="give an AsyncSession, or call enqueue(…, session=session) in synchronous code",
        )
    result: T = await run_sync(lambda plain: work(session=plain))
    return result


async def until_ended(run_id: RunId, flow_name: str, deadline: float | None) -> RunState | None:
    """Wait for the end of a run.

    Args:
        run_id: The run.
        flow_name: The name of its flow.
        deadline: On the clock of `time.monotonic`; None waits without limit.

    Returns:
        Its terminal state; None if the run does not exist any more.

    Raises:
        TimeoutError: it has not ended by then.
        WouldBlock: it has not ended, and this code runs in a worker.
    """
    engine = await asyncio.to_thread(bootstrap.engine)
    refuse_to_hold_a_worker(run_id, flow_name)
    left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
    async with asyncio.timeout(left):
        return await engine.run_ends.ended(run_id)
