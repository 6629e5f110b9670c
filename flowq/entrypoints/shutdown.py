"""Ends a worker gracefully: how each of its processes is notified, and what it does then.

Celery notifies only the main process (`worker_shutting_down`), and waits for running tasks without
a limit. Steps run in the main process or, in a prefork pool, in its children. So the main process
makes a pipe before it forks: one byte in it, which nobody reads, wakes a thread in each process.
That thread stops new steps, waits for the grace period, releases the attempts that still run
(`flowq.engine.attempts.release`), and lets the process end. In a prefork child it raises `Stopped`
inside the step. A thread that cannot be interrupted ends with its process.

Service managers signal whole process groups. So a child that runs a step and gets a SIGTERM waits
for the pipe first. If the pipe stays empty, Celery wants this child alone to end, and it ends. At a
second SIGTERM a child releases its attempt at once.
"""

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from queue import Empty
from types import FrameType
from typing import Any, Final

from celery.worker import state as celery_state
from celery.worker.request import Request
from kombu.transport import pyamqp, redis

from flowq import bootstrap
from flowq.engine.attempts.release import Stopped, release_all
from flowq.engine.engine import Engine

logger = logging.getLogger(__name__)

#: Seconds. One signal to a process group reaches all its processes within this time.
_TOGETHER: Final = 2.0
#: Seconds that steps get to unwind after the interrupt.
_UNWINDING: Final = 3.0
_TICK: Final = 0.05


class ShutdownPipe:
    """A pipe that wakes all waiting threads, in this process and in its forks."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)

    def notify(self) -> None:
        """Wake all waiting threads; may be called in a signal handler, and more than once."""
        try:
            os.write(self._in, b".")
        except BlockingIOError:
            logger.debug("the shutdown pipe is full")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is notified; return whether it was."""
        waiting = select.poll()
        waiting.register(self._out, select.POLLIN)
        return bool(waiting.poll(None if seconds is None else 1000 * seconds))


class ShutdownWatcher:
    """Waits for the pipe in one process and ends its part of the worker.

    Args:
        pipe: Notified when the worker has to end.
        grace: Seconds that running steps get.
        leave: Handles attempts that still run after the grace period.
    """

    def __init__(
        self,
        engine: Engine,
        pipe: ShutdownPipe,
        grace: float,
        leave: Callable[["ShutdownWatcher"], None],
    ) -> None:
        self._engine = engine
        self._pipe = pipe
        self._grace = grace
        self._leave = leave
        self._signal = ShutdownPipe()
        self._notified_at: float | None = None
        self._hurry = threading.Event()
        self._given_back = False
        self._busy = False  # only meaningful in a child, which runs one task at a time
        self._otherwise: Any = signal.SIG_DFL

    def start(self) -> None:
        """Start the waiting thread."""
        self._engine.leases.stopping = self._pipe.wait(0)
        threading.Thread(target=self._run, name="flowq-stop", daemon=True).start()

    def answer_sigterm(self) -> None:
        """Handle SIGTERM from now on; to be called in a child's main thread."""
        self._otherwise = signal.signal(signal.SIGTERM, self._on_sigterm)
        threading.Thread(target=self._tell_apart, name="flowq-sigterm", daemon=True).start()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Mark that this process has a step, even if it is not claimed yet."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    @property
    def running(self) -> int:
        """How many attempts run in this process."""
        return self._engine.leases.running

    def unwound(self) -> bool:
        """Wait a moment for the attempts of this process to end; return whether they have."""
        deadline = time.monotonic() + _UNWINDING
        while self.running and time.monotonic() < deadline:
            time.sleep(_TICK)
        return not self.running

    def _run(self) -> None:
        self._pipe.wait()
        self._notified_at = time.monotonic()
        self._engine.leases.stopping = True
        self._hurry.wait(self._grace)
        if self.running:
            release_all(self._engine)
        self._given_back = True
        self._leave(self)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if self._given_back and self.running:
            raise Stopped
        notified_at = self._notified_at
        if not self._busy or self._signal.wait(0):
            self._go(number, frame)
        elif notified_at is None:
            self._signal.notify()
        elif time.monotonic() - notified_at > _TOGETHER:
            self._hurry.set()

    def _tell_apart(self) -> None:
        """After a SIGTERM, end this process alone unless the pipe is notified too."""
        self._signal.wait()
        if not self._pipe.wait(_TOGETHER):
            os.kill(os.getpid(), signal.SIGTERM)

    def _go(self, number: int, frame: FrameType | None) -> None:
        if callable(self._otherwise):
            self._otherwise(number, frame)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)


def leave_child(watch: ShutdownWatcher) -> None:
    """End a child of a prefork pool; its step is interrupted."""
    if watch.running:
        os.kill(os.getpid(), signal.SIGTERM)
        if not watch.unwound():
            _exit("a step does not respond")


def leave_main(watch: ShutdownWatcher, names: Callable[[], frozenset[str]]) -> None:
    """End the main process, when only attempts run that Celery should not wait for."""
    if watch.unwound():
        _kill_children(names())
        return
    while any(request.name not in names() for request in tuple(celery_state.active_requests)):
        time.sleep(_TICK)
    _exit("steps run in threads, which cannot be interrupted")


def _kill_children(names: frozenset[str]) -> None:
    """Kill children that have not ended: code in C cannot be interrupted."""
    time.sleep(2 * _UNWINDING)
    for request in tuple(celery_state.active_requests):
        if request.name in names and request.worker_pid not in (None, os.getpid()):
            logger.warning("killing %s, which does not respond", request.worker_pid)
            os.kill(request.worker_pid, signal.SIGKILL)


def _exit(why: str) -> None:
    logger.warning("ending process %d at once: %s", os.getpid(), why, extra={"action": "stop"})
    logging.shutdown()
    os._exit(0)


class WorkerProcess:
    """The graceful end of this process when the worker has to stop.

    Args:
        names: Returns the names of flowq's tasks.
    """

    def __init__(self, names: Callable[[], frozenset[str]]) -> None:
        self._names = names
        self._pipe: ShutdownPipe | None = None
        self._main = 0
        self._watched = 0
        self._watch: ShutdownWatcher | None = None

    def start(self) -> None:
        """Create the pipe, in the main process before it forks; not for a worker in a thread."""
        if threading.current_thread() is threading.main_thread():
            self._pipe, self._main, self._watch = ShutdownPipe(), os.getpid(), None

    def notify(self) -> None:
        """Notify all processes."""
        if self._pipe is not None:
            self._pipe.notify()

    def watch(self, engine: Engine) -> AbstractContextManager[object]:
        """Wait for the pipe from now on; the block that is given back must not be cut off.

        A spawned child has no pipe: attempts that run at its end are recovered when their leases
        expire.
        """
        if self._pipe is None:
            return nullcontext()
        if self._watch is None or self._watched != os.getpid():
            self._watched = os.getpid()
            grace = bootstrap.settings().stop_grace_seconds
            if self._watched == self._main:
                leave = partial(leave_main, names=self._names)
                self._watch = ShutdownWatcher(engine, self._pipe, grace, leave)
            else:
                self._watch = ShutdownWatcher(engine, self._pipe, grace, leave_child)
                self._watch.answer_sigterm()
            self._watch.start()
        return self._watch.busy()


def fetched(names: frozenset[str]) -> list[Request]:
    """Return the tasks of flowq that this worker has fetched, begun or not.

    Celery forgets them when its consumer ends.
    """
    return [one for one in tuple(celery_state.reserved_requests) if one.name in names]


def requeue(channel: Any, names: frozenset[str], requests: Sequence[Request]) -> None:
    """Requeue messages of flowq that this worker has fetched and not begun.

    Celery does that only after all running tasks have ended. Messages of other tasks, and brokers
    other than Redis and RabbitMQ, are left to Celery.

    Args:
        channel: That of the worker's consumer, which takes no more messages.
        names: Those of flowq's tasks.
        requests: What was fetched before the consumer ended.
    """
    try:
        if isinstance(channel, redis.Channel):
            _requeue_on_redis(channel, names)
        elif isinstance(channel, pyamqp.Channel):
            _requeue_on_amqp({*requests, *fetched(names)})
    except (*redis.Transport.connection_errors, *pyamqp.Transport.connection_errors) as error:
        # Their steps are queued, so the sweeper sends them again.
        logger.warning("fetched messages were not requeued: %s", error, extra={"action": "stop"})


def _requeue_on_redis(channel: Any, names: frozenset[str]) -> None:
    # The needed attributes are not public.
    if channel._in_poll:  # noqa: SLF001
        # The BRPOP that is running would take the first of them; kombu ends it likewise.
        with suppress(Empty):
            channel._brpop_read()  # noqa: SLF001
    begun = {request.message.delivery_tag for request in tuple(celery_state.active_requests)}
    for tag, message in list((channel.qos._delivered or {}).items()):  # noqa: SLF001
        if tag not in begun and message.headers.get("task") in names:
            channel.basic_reject(tag, requeue=True)


def _requeue_on_amqp(requests: set[Request]) -> None:
    for request in requests - set(celery_state.active_requests):
        if not request.acknowledged:
            request.message.requeue()
            request.acknowledged = True  # RabbitMQ closes a channel that answers a message twice
