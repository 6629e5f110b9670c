"""Starts runs: on workers, or in this process."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Unpack
from uuid import UUID

from flowq import bootstrap
from flowq.client.awaiting import within
from flowq.client.run import LOOK_AGAIN, Run
from flowq.core.errors import RunFailed
from flowq.core.ids import RunId, StepRunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.registry.registry import RegisteredFlow, registry
from flowq.engine.runs import submission as runs
from flowq.engine.runs.options import SubmitOptions
from flowq.engine.runtime.blocking import allow_waiting


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
    begin = partial(runs.submit, engine, flow, inputs, run_id=run.id, mode="sync", **options)
    # Threads of this process run it, also where a worker's code may not wait for other workers.
    with dispatcher.watching(run.id) as watch, allow_waiting():
        await asyncio.to_thread(begin)
        await await_or_cancel(run)
    return run, watch.errors


async def await_or_cancel(run: Run[Any]) -> RunState:
    """Wait for the end of a run, which is cancelled when the caller is."""
    try:
        return await run.await_end()
    except asyncio.CancelledError:
        await asyncio.shield(run.acancel("the code that waited for it was cancelled"))
        raise


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
