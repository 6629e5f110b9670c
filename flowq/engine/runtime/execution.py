"""Runs the user's function: with its context, its timeout, and coroutines on one event loop.

Async steps of a process share one event loop in one thread, so a pool of threads runs hundreds of
them at once, and libraries keep their connection pools between steps. What a timeout, or a cancel
after its grace period, can stop depends on where a step runs (`flowq docs steps`):

    async                      the coroutine is cancelled at its next await
    sync, in the main thread   (prefork, solo) SIGALRM, or SIGURG for a cancel, interrupts it
    sync, elsewhere            (threads, gevent) it runs in a thread of its own, which is left
                               behind: the attempt ends on time, the code later; its result is lost

A step that ends after its timeout, because it caught the exception or never awaited, has failed. A
step that returns after it has seen its cancel is cancelled. What they return is ignored.
"""

import asyncio
import contextvars
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

from flowq.core.errors import LeaseLost, NondeterminismError, StepCancelled, StepError, StepTimeout
from flowq.engine.interrupts import interrupt_in
from flowq.engine.runtime.causes import message_of
from flowq.engine.runtime.context import StepContext, enter

logger = logging.getLogger(__name__)

#: Exceptions with which flowq ends or suspends an attempt; all others are failures of the step.
_OF_FLOWQ = (LeaseLost, NondeterminismError, StepCancelled)


class EventLoop:
    """One event loop in one daemon thread, started at first use, again in a forked child."""

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
                    target=_run_for_ever, args=(self._loop,), name="flowq-async-steps", daemon=True
                ).start()
            return self._loop


def _run_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop; exceptions of a step's tasks that would end other loops do not end this one."""
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            # The task that raised it keeps it, where the step finds it.
            logger.warning("a task of an async step raised %r", error, extra={"action": "leave"})


@dataclass(frozen=True, slots=True)
class _RaisedError:
    """An exception of a coroutine, wrapped so that it does not end the event loop."""

    error: BaseException

    def unwrap(self) -> Any:
        """Raise the exception."""
        raise self.error


_loop = EventLoop()
# A lock held by another thread at the moment of a fork would stay held forever in the child.
os.register_at_fork(after_in_child=lambda: setattr(_loop, "_lock", threading.Lock()))


class _MainThread:
    """The attempt whose code runs in the main thread of this process, where a signal can stop it.

    The handler stays installed and reads this, so a signal that comes too late interrupts nothing.
    """

    attempt: "Attempt | None" = None
    thread: int = 0


#: Seconds after which an alarm rings again that the main thread has not heard: in a process that
#: was stopped and goes on, another thread may get the signal, and the main thread waits on.
_RING_AGAIN = 1.0
#: A signal that neither Celery nor Python uses, and that is ignored by default.
_INTERRUPT = signal.SIGURG


def _on_interrupt(_number: int, _frame: FrameType | None) -> None:
    attempt = _MainThread.attempt
    if attempt is not None and attempt.interrupted:
        _MainThread.attempt = None
        raise StepCancelled("the step was cancelled, and its grace period has passed")


class Attempt:
    """One running call of a step, which a cancel or a lost lease can stop.

    Args:
        record_cancel: Records that the attempt was cancelled; False when its lease is lost.
    """

    def __init__(self, record_cancel: Callable[[], bool] = lambda: False) -> None:
        self.record_cancel = record_cancel
        self.cancel_seen = threading.Event()
        self.interrupted = False
        self._future: Future[Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._lost = False

    def lose(self) -> None:
        """Notify it that its lease is lost: an async step is cancelled at its next await."""
        self._lost = True
        if self._future is not None:
            self._future.cancel()

    def cancel(self) -> None:
        """Request its end: an async step is cancelled at its next await, a sync one may check."""
        self.cancel_seen.set()
        task = self._task
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def interrupt(self) -> bool:
        """Raise `StepCancelled` in a sync step that runs in the main thread.

        Returns:
            False when it is no such step, or not in its own code.
        """
        if _MainThread.attempt is not self:
            return False
        self.interrupted = True
        signal.pthread_kill(_MainThread.thread, _INTERRUPT)
        return True

    def raise_if_cancelled(self) -> None:
        """Raise `StepCancelled` if someone has asked for it."""
        if self.cancel_seen.is_set():
            raise StepCancelled("the step was cancelled")

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
            StepCancelled: `cancel` was called meanwhile.
            LeaseLost: `lose` was called meanwhile.
        """

        async def body() -> Any:
            enter(context)
            self._task = asyncio.current_task()
            self.raise_if_cancelled()  # before this line the task could not be cancelled
            started = time.monotonic()
            try:
                async with asyncio.timeout(timeout.total_seconds() if timeout else None) as limit:
                    value = await function(*args, **kwargs)
                return _in_time(value, started, timeout)
            except TimeoutError as error:
                return _RaisedError(_too_long(timeout) if limit.expired() else error)
            except BaseException as error:  # noqa: BLE001 - it is raised again by who waits for it
                return _RaisedError(error)

        self._future = _loop.submit(body())
        if self._lost:  # between the claim and this line
            self._future.cancel()
        with self._cancellable():
            try:
                value = self._future.result()
            except BaseException:
                if self._lost:
                    raise LeaseLost("the lease was lost while the step ran") from None
                raise
            return value.unwrap() if isinstance(value, _RaisedError) else value

    def call_sync(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: StepContext,
        timeout: timedelta | None,
    ) -> Any:
        """Run a function here, or in another thread when only that can enforce its timeout.

        Raises:
            StepTimeout: it took longer than `timeout`.
            StepCancelled: `cancel` was called meanwhile.
        """

        def body() -> Any:
            enter(context)
            started = time.monotonic()
            return _in_time(function(*args, **kwargs), started, timeout)

        here = contextvars.copy_context()
        with self._cancellable():
            if threading.current_thread() is threading.main_thread():
                with _alarm(timeout) if timeout else nullcontext(), self._interruptible():
                    return here.run(body)
            return here.run(body) if timeout is None else _beside(lambda: here.run(body), timeout)

    @contextmanager
    def _cancellable(self) -> Iterator[None]:
        """End a step that was cancelled while it ran as cancelled, whatever its result."""
        self.raise_if_cancelled()
        try:
            yield
        except BaseException as error:
            if interrupt_in(error) is not None or (self._lost and isinstance(error, LeaseLost)):
                raise
            self.raise_if_cancelled()
            if isinstance(error, _OF_FLOWQ):
                # If the lease is really lost, the write that records this detects it.
                is_cancel = isinstance(error, StepCancelled)
                reason = "its run was not cancelled" if is_cancel else "only flowq raises that"
                raise StepError(
                    f"the step raised {type(error).__name__}, and {reason}: {message_of(error)}"
                ) from error
            raise
        self.raise_if_cancelled()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let `interrupt` stop the code of the block, in the main thread."""
        if signal.getsignal(_INTERRUPT) is not _on_interrupt:
            signal.signal(_INTERRUPT, _on_interrupt)
        _MainThread.thread = threading.get_ident()
        _MainThread.attempt = self
        try:
            yield
        finally:
            _MainThread.attempt = None


@contextmanager
def _alarm(timeout: timedelta) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise _too_long(timeout)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout.total_seconds(), _RING_AGAIN)
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
            return future.result()  # it ended just in time, or this is the step's own TimeoutError
        raise _too_long(timeout) from None


def _in_time(value: Any, started: float, timeout: timedelta | None) -> Any:
    """Return a step's value, unless it caught its timeout or computed beyond it."""
    if timeout is not None and time.monotonic() - started > timeout.total_seconds():
        raise _too_long(timeout)
    return value


def _too_long(timeout: timedelta | None) -> StepTimeout:
    seconds = timeout.total_seconds() if timeout else 0
    return StepTimeout(f"took longer than its timeout of {seconds:g} s")
