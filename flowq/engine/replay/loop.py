"""An event loop that runs one program, in the calling thread, until no callback is ready.

It is deterministic: callbacks run in the order in which they were scheduled, the host sets the
time, and a timer is a call of the program like any other. So `asyncio.gather`, `TaskGroup`, `wait`,
`wait_for`, `timeout`, `Queue` and the locks work, and do the same in every replay. I/O (sockets,
processes, threads, signals) is refused.
"""

import asyncio
import logging
import sys
import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from itertools import count
from typing import Any, Final, NoReturn, TypeVarTuple, Unpack
from weakref import WeakKeyDictionary

from flowq.core.errors import InvalidFlow, StepError
from flowq.engine.interrupts import interrupt_in
from flowq.engine.replay.control import ProgramDiscarded
from flowq.engine.replay.scopes import Scope
from flowq.engine.replay.waiting import Awaited, ProgramFuture, ProgramTask

_Args = TypeVarTuple("_Args")

logger = logging.getLogger(__name__)

#: Callbacks without a wait between them after which a program counts as an endless loop.
_MAX_CALLBACKS: Final = 1_000_000
#: How often a program may wait while it is being discarded.
_MAX_CLOSES: Final = 100


class ProgramLoop(AbstractEventLoop):
    """The event loop of one program.

    Args:
        start_timer: Makes a timer a call: gets the seconds and the callback.
        drop_timer: Called when a timer was cancelled.
    """

    def __init__(
        self,
        start_timer: Callable[[float, asyncio.TimerHandle, str], None],
        drop_timer: Callable[[asyncio.TimerHandle], None],
    ) -> None:
        self._start_timer = start_timer
        self._drop_timer = drop_timer
        self._ready: deque[asyncio.Handle] = deque()
        self._now = 0.0
        self._thread = 0
        self._callbacks = Scope("c")
        self._numbers = count()
        self._others: WeakKeyDictionary[asyncio.Task[Any], Scope] = WeakKeyDictionary()
        # Kept, so that the garbage collector does not finalise one at a random moment.
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._tasks: list[ProgramTask] = []  # some of them are done
        self._sweep_at = 64  # from this number on, tasks that are done are removed
        self.stopped = False  #: Nothing of the program runs any more.
        self.closed = False

    # --- for the execution -----------------------------------------------------------------------

    def run_ready(self) -> None:
        """Run all ready callbacks.

        Raises:
            StepError: the program loops without end.
        """
        left = _MAX_CALLBACKS
        with self._running():
            while self._ready and not self.stopped:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    self._run_one(handle)
                left -= 1
                if not left:
                    raise StepError(
                        "the program is in a busy loop: it ran a million callbacks without "
                        "awaiting a step, a sleep or a signal",
                        hint="await flowq.sleep(…) or a step in that loop",
                    )

    def _run_one(self, handle: asyncio.Handle) -> None:
        try:
            handle._run()  # noqa: SLF001 - what every event loop does with a handle
        except (SystemExit, KeyboardInterrupt) as error:
            if interrupt_in(error) is not None:
                raise  # this process ends; otherwise the task that raised it keeps it

    def open_tasks(self) -> list[ProgramTask]:
        """Return the tasks that are not done."""
        self._tasks = [task for task in self._tasks if not task.done()]
        self._sweep_at = max(64, 2 * len(self._tasks))
        return self._tasks

    def discard(self, context: Context) -> None:
        """Discard all tasks. Their `finally` blocks run up to their first wait."""
        self.closed = True
        with self._running():
            while tasks := self.open_tasks():
                self._tasks = []  # tasks that they start meanwhile are next, and never run
                for task in tasks:
                    _close(task, context)

    def move_to(self, now: float) -> None:
        """Set the time, which never goes back."""
        self._now = max(self._now, now)

    def scope(self) -> Scope:
        """Return the scope of the running task.

        Raises:
            InvalidFlow: the caller is in another thread than the program.
        """
        self._check_thread("calls something")
        task = asyncio.current_task(self)
        if isinstance(task, ProgramTask):
            return task.scope
        if task is None:
            return self._callbacks
        if task not in self._others:
            self._others[task] = self._callbacks.next_task()
        return self._others[task]

    @contextmanager
    def _running(self) -> Iterator[None]:
        before = asyncio._get_running_loop()  # noqa: SLF001 - documented for makers of loops
        hooks = sys.get_asyncgen_hooks()
        self._thread = threading.get_ident()
        asyncio._set_running_loop(self)  # noqa: SLF001 - as above
        sys.set_asyncgen_hooks(self._generators.append, lambda _: None)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(before)  # noqa: SLF001 - as above

    def _check_thread(self, what: str) -> None:
        if self._thread != threading.get_ident():
            raise InvalidFlow(
                f"a thread {what} in a program: its order would differ from replay to replay",
                hint="start threads in a step",
            )

    # --- methods that asyncio calls ----------------------------------------------------------

    def time(self) -> float:
        """Seconds since the program began, by the last event that it has observed."""
        return self._now

    def call_soon(
        self,
        callback: Callable[[Unpack[_Args]], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Run a callback with the next ones."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[_Args]], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Run a callback with the next ones; refused to other threads."""
        self._check_thread("reports back")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Args]], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a timer, which is a call of the program."""
        handle = asyncio.TimerHandle(self._now + delay, callback, args, self, context)
        if delay <= 0:
            self._ready.append(handle)
        elif not self.closed:
            sleeps = getattr(callback, "__name__", "") == "_set_result_unless_cancelled"
            self._start_timer(delay, handle, "sleep" if sleeps else "timer")
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Args]], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a timer for a moment of the program's clock."""
        return self.call_later(when - self._now, callback, *args, context=context)

    def wake(self, handle: asyncio.Handle) -> None:
        """Run a timer's callback with the next ones."""
        self._ready.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._drop_timer(handle)

    def create_future(self) -> "asyncio.Future[Any]":
        """Make a future of this loop."""
        return ProgramFuture(next(self._numbers), self)

    # Untyped options, since asyncio passes different ones in different versions.
    def create_task(self, coro: Any, **options: Any) -> Any:
        """Make a task with a scope of its own."""
        if not isinstance(coro, Awaited):
            _refuse_random_order()
        scope = self._callbacks if self.closed else self.scope()
        return self._task(coro, scope.next_task(), **options)

    def create_root(self, coro: Coroutine[Any, Any, Any], context: Context) -> ProgramTask:
        """Make the task of the program's own function."""
        self._thread = threading.get_ident()
        return self._task(coro, Scope(""), context=context)

    def _task(self, coro: Any, scope: Scope, **options: Any) -> ProgramTask:
        task = ProgramTask(coro, next(self._numbers), scope, loop=self, **options)
        # A waiting program may be dropped at any time; asyncio would log that as a mistake.
        task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001
        self._tasks.append(task)
        if len(self._tasks) > self._sweep_at:
            self.open_tasks()
        return task

    def get_task_factory(self) -> None:
        """Return None: tasks are made here."""

    def get_exception_handler(self) -> None:
        """Return None: there is no other."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log unhandled errors, like the exception of a task that is not awaited."""
        if not self.closed:
            logger.warning(
                "in a program: %s",
                context.get("message"),
                exc_info=context.get("exception"),
                extra={"action": "program_exception"},
            )

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log it."""
        self.call_exception_handler(context)

    def get_debug(self) -> bool:
        """Return False: debug mode reads the clock, which no replay repeats."""
        return False

    def is_running(self) -> bool:
        """Return whether the program may run."""
        return not self.closed

    def is_closed(self) -> bool:
        """Return whether the program was discarded."""
        return self.closed


def _close(task: ProgramTask, context: Context) -> None:
    coroutine: Any = task.get_coro()
    if isinstance(coroutine, Awaited):
        context.run(coroutine.close)
        return
    for _ in range(_MAX_CLOSES if coroutine is not None else 0):
        try:
            context.run(coroutine.throw, ProgramDiscarded())
        except ProgramDiscarded:
            return
        except BaseException:  # raised by code that is being discarded
            logger.debug("a suspended program raised an exception", exc_info=True)
            return
        # It waits in a `finally`; it is closed next.


def _refuse_random_order() -> None:
    """Refuse tasks for `asyncio.as_completed`, which iterates over a set of coroutines.

    The order of that set, and so of the tasks, depends on addresses in memory.
    """
    frame = sys._getframe(2)  # noqa: SLF001 - `inspect` does the same, for every frame at once
    while frame.f_code.co_filename == asyncio.tasks.__file__ and frame.f_back is not None:
        if frame.f_code.co_qualname.startswith(("as_completed", "_AsCompleted")):
            raise InvalidFlow(
                "asyncio.as_completed is given coroutines, which it would start in random order",
                hint="give it tasks: asyncio.as_completed([asyncio.create_task(one) for one in …])",
            )
        frame = frame.f_back


def _refused(name: str) -> Callable[..., NoReturn]:
    def refuse(_self: ProgramLoop, *_: object, **__: object) -> NoReturn:
        raise InvalidFlow(
            f"a program uses {_USES.get(name, f'asyncio ({name})')}, which a replay cannot repeat",
            hint="do it in a step, and await the step",
        )

    return refuse


#: The common names of these methods.
_USES: Final = {
    "run_in_executor": "a thread (asyncio.to_thread, run_in_executor)",
    "create_connection": "the network (create_connection)",
    "create_datagram_endpoint": "the network (create_datagram_endpoint)",
    "create_unix_connection": "a socket (create_unix_connection)",
    "create_server": "the network (create_server)",
    "getaddrinfo": "the network (getaddrinfo)",
    "subprocess_exec": "another process (create_subprocess_exec)",
    "subprocess_shell": "another process (create_subprocess_shell)",
    "add_reader": "a file or socket (add_reader)",
    "add_writer": "a file or socket (add_writer)",
    "add_signal_handler": "signals of the process (add_signal_handler)",
}

for _name in dir(AbstractEventLoop):
    if not _name.startswith("__") and _name not in vars(ProgramLoop):
        setattr(ProgramLoop, _name, _refused(_name))
