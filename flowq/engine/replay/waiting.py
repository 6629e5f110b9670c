"""What a call returns in a program: a coroutine, backed by a future that knows who awaits it.

Like a task, a call begins when it is made, not when it is awaited. The callbacks of the future show
who awaits it: if that is only one gather, or one task group, the program need not run again before
the whole group has ended.

Futures, tasks and calls are hashed by the order in which they were made. asyncio keeps them in
sets, whose order would differ in each replay if they were hashed by their addresses.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

from flowq.engine.replay.scopes import Scope
from flowq.engine.replay.values import ProgramCall

T = TypeVar("T")


class _Numbered:
    """An object that is hashed by its number."""

    number: int

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class ProgramFuture(_Numbered, asyncio.Future[Any]):
    """A future of a program."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)


class _Watched(_Numbered, asyncio.Future[Any]):
    """A future, or with `ProgramTask` a task, that records its callbacks."""

    watchers: list[Callable[..., Any]]

    def add_done_callback(
        self, fn: Callable[..., Any], /, *, context: Context | None = None
    ) -> None:
        self.watchers.append(fn)
        super().add_done_callback(fn, context=context)

    def remove_done_callback(self, fn: Callable[..., Any], /) -> int:
        self.watchers = [one for one in self.watchers if one != fn]
        return super().remove_done_callback(fn)


class CallFuture(_Watched):
    """The future of a call's end.

    Args:
        number: The number of the call in the program.
        loop: The program's loop.
        abandoned: Called when the program cancels it.
    """

    def __init__(
        self,
        call: ProgramCall,
        number: int,
        loop: asyncio.AbstractEventLoop,
        abandoned: Callable[["CallFuture"], None],
    ) -> None:
        self.number = number
        super().__init__(loop=loop)
        self.call = call
        self.watchers = []
        self.handle: Awaited[Any] | None = None
        self._abandoned = abandoned

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it: the call is not awaited any more."""
        if not super().cancel(msg):
            return False
        self._abandoned(self)
        return True

    def joined_by(self) -> Callable[..., Any] | None:
        """Return the gather or task group that alone awaits the call, if there is one.

        All members of a gather, or of a task group, have the same callback, so equal callbacks mean
        one group.
        """
        task = self.handle.task if self.handle else None
        if task is None or len(self.watchers) != 1 or len(task.watchers) != 1:
            return None
        (watcher,) = task.watchers
        name = getattr(watcher, "__qualname__", "")
        return watcher if name in {_GATHER, _TASK_GROUP} else None


#: The names of asyncio's joining callbacks; with any other, a call counts as awaited alone.
_GATHER = "gather.<locals>._done_callback"
_TASK_GROUP = "TaskGroup._on_task_done"


class Awaited(_Numbered, Coroutine[Any, Any, T]):
    """The awaitable that a call in a program returns.

    Args:
        future: The end of the call.
        convert: Converts its value for the program; if it returns a call, that is awaited in turn.
    """

    def __init__(self, future: CallFuture, convert: Callable[[Any], Any] | None = None) -> None:
        self._future = future
        self._convert = convert
        self._steps: Generator[Any, None, T] | None = None
        self.task: ProgramTask | None = None  #: The task that was made of this call alone.
        self.number = future.number
        future.handle = self

    @property
    def is_awaited(self) -> bool:
        """Whether it was awaited, or made a task."""
        return self._steps is not None or self.task is not None

    def __await__(self) -> Generator[Any, None, T]:
        return self._begin()

    def _begin(self) -> Generator[Any, None, T]:
        if self._steps is not None:
            raise RuntimeError("cannot reuse already awaited coroutine")
        self._steps = self._wait()
        return self._steps

    def _wait(self) -> Generator[Any, None, T]:
        value: Any = yield from self._future.__await__()
        if self._convert is not None:
            value = self._convert(value)
        if isinstance(value, Awaited):
            value = yield from value.__await__()
        result: T = value
        return result

    def send(self, value: Any, /) -> Any:
        """Resume it; for asyncio."""
        return (self._steps or self._begin()).send(value)

    def throw(self, *error: Any) -> Any:
        """Raise in it; for asyncio. Before the first await this gives the call up."""
        if self._steps is None:
            self._future.cancel()
        return (self._steps or self._begin()).throw(*error)

    def close(self) -> None:
        """Give the call up."""
        self._future.cancel()
        if self._steps is not None:
            self._steps.close()

    def __repr__(self) -> str:
        return f"<call {self._future.call.key}>"


class ProgramTask(_Watched, asyncio.Task[Any]):
    """A task of a program, with the scope of its calls."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], number: int, scope: Scope, **options: Any
    ) -> None:
        self.number = number
        self.watchers = []
        self.scope = scope
        asyncio.Task.__init__(self, coroutine, **options)
        if isinstance(coroutine, Awaited):
            coroutine.task = self
