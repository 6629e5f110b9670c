"""Deterministic replacements for an `async def` flow, the same in every replay.

    datetime.now()      flowq.now()       the time of the last event that the flow observed
    uuid4()             flowq.uuid()
    random.random()     flowq.random()
    asyncio.sleep(…)    flowq.sleep(…)    seconds or weeks, without a worker; both do the same

The first three cost nothing: they are computed from the run and the place of the call. In a flow
that runs as plain Python they are the real ones.
"""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar, overload
from uuid import UUID

from pydantic import TypeAdapter

from flowq.adapters import clock
from flowq.authoring.calls.options import Duration, duration, timeout_of
from flowq.authoring.calls.tracing import PLAIN_PROGRAM, active, caller
from flowq.core.errors import InvalidFlow, StepError
from flowq.core.spec import StepKind, StepSpec
from flowq.engine.replay import Awaited, ContinueAsNew, Execution
from flowq.engine.results.codecs import adapter_for, coerce

logger = logging.getLogger(__name__)

T = TypeVar("T")


def now() -> datetime:
    """Return the time in UTC: that of the last event that the flow has observed.

    It is constant while the flow runs, and advances when a step, a sleep or a signal that it waits
    for is finished.

    Raises:
        InvalidFlow: no `async def` flow runs here.
    """
    program = _program("now")
    return program.now if program else clock.now()


def uuid() -> UUID:
    """Return a UUID, in the form of version 4, that is the same in every replay.

    Raises:
        InvalidFlow: no `async def` flow runs here.
    """
    program = _program("uuid")
    return UUID(bytes=program.draw()[:16], version=4) if program else clock.uuid()


def random() -> float:
    """Return a random number in [0, 1) that is the same in every replay.

    For a generator: `random.Random(flowq.random())`.

    Raises:
        InvalidFlow: no `async def` flow runs here.
    """
    program = _program("random")
    return (int.from_bytes(program.draw()[:8], "big") >> 11) / 2**53 if program else clock.chance()


def sleep(time: Duration, *, key: str = "sleep") -> Coroutine[Any, Any, None]:
    """Wait, for seconds or for weeks; the flow holds no worker meanwhile.

    Args:
        time: A timedelta, or seconds.
        key: What its row is called.

    Raises:
        InvalidFlow: it is negative or no time, or no `async def` flow runs here.
    """
    delay = duration(time, "the time to sleep")
    program = _program("sleep")
    if program is None:
        return asyncio.sleep(delay.total_seconds())
    spec_key = program.new_key(key)
    return program.add(StepSpec(key=spec_key, name="sleep", kind=StepKind.TIMER), delay)


@overload
def signal(
    name: str, model: type[T], *, timeout: Duration | None = None
) -> Coroutine[Any, Any, T]: ...
@overload
def signal(
    name: str, model: Any = Any, *, timeout: Duration | None = None
) -> Coroutine[Any, Any, Any]: ...
def signal(
    name: str, model: Any = Any, *, timeout: Duration | None = None
) -> Coroutine[Any, Any, Any]:
    """Wait for a message from outside (`run.send_signal`), and return it.

    Signals of one name are received in the order in which they were sent, each once; one that comes
    before the wait is kept.

    Args:
        name: The name of the signal.
        model: The type of its message: a pydantic model, a class, or any annotation. A sender of
            another type gets an error, and the flow continues to wait.
        timeout: How long to wait, as a timedelta or in seconds; None waits without limit.

    Raises:
        SignalTimeout: when awaited: it did not come in time; it is a `TimeoutError` too.
        InvalidFlow: the name or the timeout is invalid, or no `async def` flow runs here.
    """
    if not name:
        raise InvalidFlow(f"the name of a signal is {name!r} ({caller()})", hint="give text")
    limit = timeout_of(timeout)
    program = _program("signal")
    if program is None:
        raise InvalidFlow(
            f"the flow waits for the signal {name!r} and runs as plain Python ({caller()})",
            hint="test it with flowq.testing, which can send signals",
        )
    return _wait_for(program, name, adapter_for(model), limit)


def _wait_for(
    program: Execution, name: str, adapter: TypeAdapter[Any], limit: timedelta | None
) -> Awaited[Any]:
    began = program.now

    def received(value: Any) -> Any:
        try:
            return coerce(value, adapter, where=f"the signal {name!r}")
        except StepError as error:
            # It came before the wait, so its sender could not get an error.
            logger.warning("passed over: %s", error, extra={"action": "signal"})
        if limit is None:
            return _wait_for(program, name, adapter, None)
        left = began + limit - program.now
        return _wait_for(program, name, adapter, max(left, timedelta(milliseconds=1)))

    key = program.new_key(name)
    spec = StepSpec(key=key, name=name, kind=StepKind.SIGNAL, arguments=_wanted(adapter))
    return program.add(spec, limit, received)


def _wanted(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the schema of the message, which is checked when a signal is sent."""
    schema = adapter.json_schema()
    return {"schema": {"$literal": schema}} if schema else {}


def continue_as_new(*args: Any, **inputs: Any) -> NoReturn:
    """End this run here and continue as a new run of the same flow, with an empty record.

    For endless loops: a run has a limit of calls, and each replay repeats all of them. Waiting for
    the run returns the result of the last one. It raises, so nothing after it runs; open steps are
    cancelled.

    Args:
        args: One dict of inputs, for a `BaseFlow`; nothing for others.
        inputs: The inputs of the new run, by parameter.

    Raises:
        InvalidFlow: no `async def` flow runs here, or a task of it calls this.
    """
    program = _program("continue_as_new")
    if program is not None and not program.in_root:
        raise InvalidFlow(
            f"continue_as_new is called in a task that the flow started ({caller()})",
            hint="call it in the flow's own function, after its tasks have finished",
        )
    raise ContinueAsNew({**(args[0] if args else {}), **inputs})


def _program(name: str) -> Execution | None:
    """Return the program that runs here, or None when it runs as plain Python."""
    mode = active()
    if isinstance(mode, Execution):
        return mode
    if mode is PLAIN_PROGRAM:
        return None
    raise InvalidFlow(
        f"flowq.{name}() is called outside an `async def` flow ({caller()})",
        hint="call it in the flow itself; in a step use Python's own functions",
    )
