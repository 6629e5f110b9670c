"""Starts runs: on workers, or in this process."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Unpack
from uuid import UUID

from flowq import bootstrap
from flowq.client.awaiting import within
from flowq.client.run import Run
from flowq.client.waiting import LOOK_AGAIN
from flowq.core.errors import RunFailed
from flowq.core.ids import RunId, StepRunId
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.registry.registry import RegisteredFlow, registry
from flowq.engine.runs import submission as runs
from flowq.engine.runs.options import SubmitOptions


def submit(
    flow: RegisteredFlow,
    inputs: Mapping[str, Any],
    *,
    document_id: UUID | None = None,
    **options: Unpack[SubmitOptions],
) -> Run[Any]:
    """Start a run and return its handle; raises what the engine's `submit` raises.

    Args:
        flow: Its flow.
        inputs: Raw inputs, by parameter.
        document_id: The stored document that it is started from.
        options: See `SubmitOptions`.
    """
    bootstrap.refuse_eager()
    registry.check_steps()
    engine = bootstrap.engine()
    return Run(runs.submit(engine, flow, inputs, document_id=document_id, **options), flow.name)


async def asubmit(
    flow: RegisteredFlow,
    inputs: Mapping[str, Any],
    *,
    document_id: UUID | None = None,
    **options: Unpack[SubmitOptions],
) -> Run[Any]:
    """Like `submit`, without blocking the event loop; `session` is an `AsyncSession`."""
    session = options.pop("session", None)
    return await within(session, partial(submit, flow, inputs, document_id=document_id, **options))


def execute(flow: RegisteredFlow, inputs: Mapping[str, Any]) -> Any:
    """Execute a run in threads of this process, with records as for any other; wait for it.

    Raises:
        InvalidInput: the inputs are wrong; nothing was recorded.
        RunCancelled: someone has cancelled the run.
        Exception: what the flow's own code raised.
    """
    run, error = carry_out(flow, inputs)
    try:
        return run.result()
    except RunFailed as failure:
        if error is None:
            raise
        raise error from failure


def carry_out(
    flow: RegisteredFlow, inputs: Mapping[str, Any], **options: Any
) -> tuple[Run[Any], BaseException | None]:
    """Execute a run in threads of this process, as `execute`, and report how it has ended.

    Args:
        flow: The flow.
        inputs: Its inputs.
        options: As of the engine's `submit`.

    Returns:
        The run, which has ended, and the exception that a step of it has raised here.
    """
    registry.check_steps()
    engine, dispatcher = bootstrap.engine_here()
    options.setdefault("run_id", RunId(engine.new_id()))
    run: Run[Any] = Run(options["run_id"], flow.name)
    with dispatcher.watching(run.id) as watch:
        runs.submit(engine, flow, inputs, mode="sync", **options)
        while run.newest.status not in TERMINAL_RUN_STATES:
            # Workers may continue it, too.
            watch.moved.wait(LOOK_AGAIN)
            watch.moved.clear()
        return run, watch.error


async def aexecute(
    flow: RegisteredFlow, inputs: Mapping[str, Any], **options: Unpack[SubmitOptions]
) -> tuple[Run[Any], Mapping[StepRunId, BaseException]]:
    """Execute a run in threads of this process, and wait for its end.

    It is cancelled when the caller is.

    Returns:
        The run, which has ended, and the last exceptions of those of its steps that ran here.

    Raises:
        InvalidInput: the inputs or the options are wrong; nothing was recorded.
    """
    registry.check_steps()
    engine, dispatcher = await asyncio.to_thread(bootstrap.engine_here)
    run: Run[Any] = Run(RunId(engine.new_id()), flow.name)
    moved, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(moved.set)

    def begin() -> Run[Any]:
        runs.submit(engine, flow, inputs, run_id=run.id, mode="sync", **options)
        return run

    async def wait(run: Run[Any]) -> None:
        while await asyncio.to_thread(_is_open, run):
            # Workers may continue it, too.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN):
                    await moved.wait()
            moved.clear()

    with dispatcher.watching(run.id, wake) as watch:
        await ended_or_cancelled(asyncio.to_thread(begin), wait)
    return run, watch.errors


async def ended_or_cancelled(
    begin: Coroutine[Any, Any, Run[Any]], wait: Callable[[Run[Any]], Awaitable[object]]
) -> Run[Any]:
    """Start a run and wait for its end; cancel it when the caller is cancelled, at any moment.

    Args:
        begin: Starts it.
        wait: Waits for its end.
    """
    begun = asyncio.ensure_future(begin)
    try:
        run = await asyncio.shield(begun)
        await wait(run)
    except asyncio.CancelledError:
        await asyncio.wait([begun])
        if begun.exception() is None:
            why = "the code that waited for it was cancelled"
            await asyncio.shield(begun.result().acancel(why))
        raise
    return run


def _is_open(run: Run[Any]) -> bool:
    return run.newest.status not in TERMINAL_RUN_STATES


def submit_many(
    flow: RegisteredFlow,
    inputs: Iterable[Mapping[str, Any]],
    *,
    idempotency_keys: Iterable[str] | None = None,
    **options: Unpack[SubmitOptions],
) -> list[Run[Any]]:
    """Start many runs and return their handles; raises what `runs.submit_many` raises."""
    bootstrap.refuse_eager()
    registry.check_steps()
    ids = runs.submit_many(
        bootstrap.engine(), flow, inputs, idempotency_keys=idempotency_keys, **options
    )
    return [Run(run_id, flow.name) for run_id in ids]


async def asubmit_many(
    flow: RegisteredFlow,
    inputs: Iterable[Mapping[str, Any]],
    *,
    idempotency_keys: Iterable[str] | None = None,
    **options: Unpack[SubmitOptions],
) -> list[Run[Any]]:
    """Like `submit_many`, without blocking the event loop; `session` as in `asubmit`."""
    session = options.pop("session", None)
    work = partial(submit_many, flow, inputs, idempotency_keys=idempotency_keys, **options)
    return await within(session, work)
