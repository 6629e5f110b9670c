"""Running the user's function: with its context, its timeout, and coroutines on one event loop.

Async steps of a process share one event loop in one thread, so a pool of threads runs hundreds of
them at once and libraries may keep their connection pools between steps. What a timeout can do
depends on where a step runs (docs/concepts.md has the table):

    async                      the coroutine is cancelled at its next await
    sync, in the main thread   (prefork, solo) SIGALRM interrupts it
    sync, elsewhere            (threads, gevent) it runs in a thread of its own, which is left
                               behind: the attempt ends on time, the code when it ends, unheard

A step that ends after its timeout all the same, since it caught the exception or never awaited, has
failed: what it returns too late counts for nothing.
"""

import asyncio
import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from flowq.core.errors import LeaseLost, StepError, StepTimeout
from flowq.engine.context import StepContext, enter


class EventLoop:
    """One event loop in one daemon thread, started at first use, anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                threading.Thread(
                    target=self._loop.run_forever, name="flowq-async-steps", daemon=True
                ).start()
            return self._loop


_loop = EventLoop()
# A lock held by another thread at the moment of a fork would stay held for ever in the child.
os.register_at_fork(after_in_child=lambda: setattr(_loop, "_lock", threading.Lock()))


class Attempt:
    """One running call of a step, which losing its lease can stop."""

    def __init__(self) -> None:
        self._future: Future[Any] | None = None
        self._lost = False

    def lose(self) -> None:
        """Tell it that its lease is gone: an async step is cancelled at its next await."""
        self._lost = True
        if self._future is not None:
            self._future.cancel()

    def call_async(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: StepContext,
        timeout: timedelta | None,
    ) -> Any:
        """Run a coroutine function on the event loop and wait for it.

        Raises:
            StepTimeout: it took longer than `timeout`.
            LeaseLost: `lose` was called meanwhile.
        """

        async def body() -> Any:
            enter(context)
            started = time.monotonic()
            try:
                async with asyncio.timeout(timeout.total_seconds() if timeout else None) as limit:
                    value = await function(*args, **kwargs)
                return _in_time(value, started, timeout)
            except TimeoutError:
                if limit.expired():
                    raise _too_long(timeout) from None
                raise
            except SystemExit as error:
                # It would end the thread of the loop, and with it every async step to come.
                raise _left(error) from error

        self._future = _loop.submit(body())
        if self._lost:  # between the claim and this line
            self._future.cancel()
        try:
            return self._future.result()
        except BaseException:
            if self._lost:
                raise LeaseLost("the lease was lost while the step ran") from None
            raise

    def call_sync(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: StepContext,
        timeout: timedelta | None,
    ) -> Any:
        """Run a function here, or beside this thread when only that can enforce its timeout.

        Raises:
            StepTimeout: it took longer than `timeout`.
        """

        def body() -> Any:
            enter(context)
            started = time.monotonic()
            try:
                return _in_time(function(*args, **kwargs), started, timeout)
            except SystemExit as error:
                if isinstance(error.code, int) and error.code < 0:
                    raise  # a signal ends this process: the step goes to another worker
                raise _left(error) from error

        here = contextvars.copy_context()
        if timeout is None:
            return here.run(body)
        if threading.current_thread() is threading.main_thread():
            with _alarm(timeout):
                return here.run(body)
        return _beside(lambda: here.run(body), timeout)


@contextmanager
def _alarm(timeout: timedelta) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _too_long(timeout)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout.total_seconds())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _beside(body: Callable[[], Any], timeout: timedelta) -> Any:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(body())
        except BaseException as error:  # noqa: BLE001 - it is raised again by the waiting thread
            future.set_exception(error)

    threading.Thread(target=run, name="flowq-step-with-timeout", daemon=True).start()
    try:
        return future.result(timeout.total_seconds())
    except TimeoutError:
        if future.done():
            return future.result()  # at the last moment, or it is the step's own TimeoutError
        raise _too_long(timeout) from None


def _in_time(value: Any, started: float, timeout: timedelta | None) -> Any:
    """Return a step's value, unless it swallowed its timeout or computed past it."""
    if timeout is not None and time.monotonic() - started > timeout.total_seconds():
        raise _too_long(timeout)
    return value


def _left(error: SystemExit) -> StepError:
    return StepError(f"the step called sys.exit({error.code!r})")


def _too_long(timeout: timedelta | None) -> StepTimeout:
    seconds = timeout.total_seconds() if timeout else 0
    return StepTimeout(f"took longer than its timeout of {seconds:g} s")
