"""One running program: it gets the ends of calls and returns its new calls, or its own end.

An `Execution` holds the live coroutine. It can be rebuilt at any time from the rows: the same
inputs, and the same ends in the order in which they were first observed, lead to the same calls
with the same keys. So it may be discarded at any time, at the cost of a replay. Nothing here
blocks, reads a clock or does I/O: `feed` runs the program in the calling thread until it waits.

    execution = Execution(function, inputs, run_id=…, started_at=…, recorded=rows)
    execution.replay(observed)       what it observed before: must match the record exactly
    execution.feed(fresh)            new events; their order is recorded
    progress = execution.run()       new calls, or the end

The record is checked to its end: a different call at a place, or one more or less than recorded,
stops the program with a `NondeterminismError`, which its own code never sees.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context, ContextVar
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from flowq.core.errors import StepError
from flowq.core.ids import RunId
from flowq.core.references import Reference
from flowq.core.spec import StepKind, StepSpec
from flowq.engine.replay.call_results import CallResults, resolve_future
from flowq.engine.replay.control import ContinueAsNew, ProgramDiscarded
from flowq.engine.replay.loop import ProgramLoop
from flowq.engine.replay.record import Record, refuse_large
from flowq.engine.replay.scopes import key_of
from flowq.engine.replay.values import (
    CallEnded,
    Cancelled,
    Continued,
    End,
    Observation,
    ProgramCall,
    Raised,
    RecordedCall,
    ReplayOutcome,
    Returned,
)
from flowq.engine.replay.waiting import Awaited, CallFuture, ProgramTask

_current: ContextVar["Execution | None"] = ContextVar("flowq_program", default=None)


def current() -> "Execution | None":
    """Return the program that runs here, or None."""
    return _current.get()


class Execution:
    """A running program.

    Args:
        function: The coroutine function.
        inputs: Its checked inputs, by parameter.
        run_id: The run; ids and random numbers of the program derive from it.
        started_at: When the run began; the program's clock begins there.
        recorded: Every call that has a row.
        flow: The flow's name, for messages.
        input_limit: The most bytes of JSON that a new call may be given; None: any number.
        seed: What random numbers derive from until an end is observed; by default the run's id.
    """

    def __init__(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        inputs: Mapping[str, Any],
        *,
        run_id: RunId,
        started_at: datetime,
        recorded: Sequence[RecordedCall] = (),
        flow: str = "",
        input_limit: int | None = None,
        seed: UUID | None = None,
    ) -> None:
        self.flow = flow or getattr(function, "__qualname__", "program")
        self.run_id = run_id
        #: The run that was not a rerun. A program that names its run in calls names this one, so
        #: that a rerun makes the same calls.
        self.first_run_id = run_id if seed is None else RunId(seed)
        self._seed = seed or run_id
        self._is_rerun = seed is not None
        self._function = function
        self._input_limit = input_limit
        self._inputs = inputs
        self._started_at = started_at
        self._record = Record(self.flow)
        self._made: set[str] = set()  # keys of all calls
        self._open: dict[str, CallFuture] = {}  # those that have neither ended nor been given up
        self._unheard: dict[str, Awaited[Any]] = {}  # those of steps that may not be awaited yet
        self._new: dict[str, ProgramCall] = {}  # calls that no `run` has returned yet
        self._timers: dict[asyncio.TimerHandle, CallFuture] = {}
        self._grouped: dict[str, Callable[..., Any]] = {}  # open calls that are in a group
        self._results = CallResults()
        self._earlier: dict[str, RunId] = {}  # where calls that are reused have ended
        self._given_up: list[str] = []
        self._cancelled = False
        #: What the host wants to find where code of the program runs for the first time.
        self.host: Any = None
        # asyncio's base class has many more methods; those are refused.
        self._loop = ProgramLoop(self._start_timer, self._drop_timer)  # type: ignore[abstract]
        self._context = Context()
        self._context.run(_current.set, self)
        self._root: ProgramTask | None = None
        self._end: End | None = None
        #: Whether it has observed something that its earlier run did not; see `RerunSpec`.
        self.has_diverged = False
        for one in recorded:
            self._know(one)

    # --- for the host ------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time of the last event that the program has observed."""
        return self._started_at + timedelta(seconds=self._loop.time())

    @property
    def calls(self) -> int:
        """How many calls it has made."""
        return len(self._made)

    @property
    def open_calls(self) -> tuple[str, ...]:
        """The keys of the calls that have neither ended nor been given up."""
        return tuple(self._open)

    def replay(self, history: Sequence[Observation], recorded: Sequence[RecordedCall] = ()) -> None:
        """Replay what was observed before; afterwards every call must be recorded.

        Args:
            history: What was observed, in that order.
            recorded: Calls that have a row by now, beyond those given to `__init__`.

        Raises:
            NondeterminismError: the code does something else than what was recorded.
        """
        for one in recorded:
            self._know(one)
        self.feed(history)
        # Otherwise nothing was recorded, and all calls are new; of a rerun all but the copied ones.
        if (history or self._record) and not (self._is_rerun and self._record.is_copied):
            self._record.check_nothing_new(tuple(self._new.values()))
            self._raise_if_broken()

    def feed(self, observations: Sequence[Observation]) -> None:
        """Give the program new events, one after the other; it runs after each.

        Raises:
            NondeterminismError: the code does something else than what was recorded.
            Exception: a value could not be loaded; the execution must be discarded.
        """
        self._start()
        for one in observations:
            self._loop.move_to((one.at - self._started_at).total_seconds())
            if isinstance(one, Cancelled):
                self._cancel(one.reason)
            else:
                self._deliver(one)
            self._run_until_idle()

    def cancel(self, reason: str) -> None:
        """Cancel the program now: raises `asyncio.CancelledError` where it waits."""
        self.feed([Cancelled(reason, self.now)])

    def run(self) -> ReplayOutcome:
        """Return the calls and the end since the last `run`.

        Raises:
            NondeterminismError: a recorded call is no longer made.
        """
        self._start()
        self._record.check_met()
        self._raise_if_broken()
        calls = tuple(self._new.values())
        self._new.clear()
        given_up, self._given_up = tuple(self._given_up), []
        groups = self._groups(calls)
        return ReplayOutcome(calls, groups, self._alone(), given_up, self.open_calls, self._end)

    def close(self) -> None:
        """Discard the program; calls that it makes while it is discarded are refused."""
        self._loop.discard(self._context)

    # --- for calls in the program ----------------------------------------------------------------

    @property
    def in_root(self) -> bool:
        """Whether the program's own function runs now, not one of its tasks."""
        return asyncio.current_task(self._loop) is self._root

    def new_key(self, label: str) -> str:
        """Return the key of the call that is being made; each key is used once.

        Raises:
            InvalidFlow: it is made in a thread that the program has started.
        """
        if self._loop.closed:
            # No `Exception`: a `finally` of the program must not make calls now.
            raise ProgramDiscarded
        return key_of(label, self._loop.scope().next_call())

    def add(
        self,
        spec: StepSpec,
        delay: timedelta | None = None,
        convert: Callable[[Any], Any] | None = None,
    ) -> Awaited[Any]:
        """Make a call, with a key from `new_key`, and return its awaitable.

        Args:
            spec: What is called.
            delay: Of a timer: how long; of a signal: its timeout.
            convert: Converts the value for the program.

        Raises:
            InvalidInput: it is given too much; nothing is recorded, and the program may go on.
        """
        # What is recorded was accepted, whatever the limit is now.
        if self._input_limit is not None and not self._record.knows(spec.key):
            refuse_large(spec, self._input_limit)
        awaited: Awaited[Any] = Awaited(self._make(spec, delay), convert)
        self._unheard[spec.key] = awaited
        return awaited

    def reference_of(self, value: object, /) -> Reference | None:
        """Return a reference to the call that returned this object, if it is not copied."""
        return self._results.reference_of(value)

    def run_of(self, key: str) -> RunId:
        """Return the run in which a call has ended: this one, or an earlier one if it is reused."""
        return self._earlier.get(key, self.run_id)

    def draw(self) -> bytes:
        """Return 32 pseudo-random bytes that are the same in every replay."""
        return sha256(self._seed.bytes + self._loop.scope().next_draw().encode()).digest()

    def _make(self, spec: StepSpec, delay: timedelta | None) -> CallFuture:
        call = ProgramCall(spec.key, spec, delay, after_cancel=self._cancelled)
        future = CallFuture(call, len(self._made), self._loop, self._abandoned)
        self._made.add(call.key)
        self._open[call.key] = future
        if not self._record.has(spec):
            self._new[call.key] = call
        self._loop.stopped = self._record.broken is not None
        return future

    def _know(self, recorded: RecordedCall) -> None:
        key = recorded.key
        self._record.add(recorded, made=key in self._made, new=self._new.pop(key, None))

    # --- time --------------------------------------------------------------------------------

    def _start_timer(self, seconds: float, handle: asyncio.TimerHandle, label: str) -> None:
        spec = StepSpec(key=self.new_key(label), name=label, kind=StepKind.TIMER)
        future = self._make(spec, timedelta(seconds=seconds))
        self._timers[handle] = future
        future.add_done_callback(lambda _: self._ring(handle))

    def _ring(self, handle: asyncio.TimerHandle) -> None:
        if self._timers.pop(handle, None) is not None:
            self._loop.wake(handle)

    def _drop_timer(self, handle: asyncio.TimerHandle) -> None:
        future = self._timers.pop(handle, None)
        if future is not None:
            future.cancel()

    # --- events --------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._root is not None:
            return
        coroutine = self._context.run(self._function, **self._inputs)
        self._root = self._loop.create_root(coroutine, self._context)
        self._run_until_idle()

    def _run_until_idle(self) -> None:
        try:
            self._loop.run_ready()
            if self._root is not None and self._root.done():
                # As in `asyncio.run`: tasks that the program has left are cancelled, and may end.
                for task in self._loop.open_tasks():
                    task.cancel()
                self._loop.run_ready()
            end = self._ending()
        except StepError as error:
            end = Raised(error)
        self._raise_if_broken()
        if end is not None and self._end is None:
            self._end = end
            self._give_up_the_rest()

    def _ending(self) -> End | None:
        assert self._root is not None
        if self._root.done() and not self._loop.open_tasks():
            return self._outcome(self._root)
        if not self._open:
            return Raised(
                StepError(
                    "the program waits for something that can never happen: it has no open call",
                    hint="an event that nobody sets, an empty queue, or a lock that is held?",
                )
            )
        return None

    def _outcome(self, root: ProgramTask) -> End:
        if root.cancelled():
            return Raised(asyncio.CancelledError())
        error = root.exception()
        if isinstance(error, ContinueAsNew):
            return Continued(error.inputs)
        if error is not None:
            return Raised(error)
        for key, awaited in self._unheard.items():
            if not awaited.is_awaited:
                return Raised(
                    StepError(
                        f"{key} was called and never awaited",
                        hint="await it, or give it to asyncio.gather or asyncio.create_task",
                    )
                )
        return Returned(root.result())

    def _give_up_the_rest(self) -> None:
        self._timers.clear()
        for future in list(self._open.values()):
            future.cancel()

    def _abandoned(self, future: CallFuture) -> None:
        """Remove a call that was not returned yet; report any other to the host."""
        del self._open[future.call.key]
        self._unheard.pop(future.call.key, None)
        self._grouped.pop(future.call.key, None)
        if self._new.pop(future.call.key, None) is None and not self._loop.closed:
            self._given_up.append(future.call.key)

    def _cancel(self, reason: str) -> None:
        self._cancelled = True
        assert self._root is not None
        self._root.cancel(reason)

    def _deliver(self, ended: CallEnded) -> None:
        if ended.reused is None:
            self.has_diverged, self._seed = True, self.run_id
        else:
            self._earlier[ended.key] = RunId(ended.reused.seed)
            if not self.has_diverged:
                self._seed = ended.reused.seed
        if ended.key not in self._made:
            self._record.check_observed(ended.key)
            self._raise_if_broken()
        future = self._open.get(ended.key)
        if future is None:
            return  # given up, or observed before
        resolve_future(future, ended, self._results)
        del self._open[ended.key]
        self._grouped.pop(ended.key, None)
        if ended.key in self._unheard and self._unheard[ended.key].is_awaited:
            del self._unheard[ended.key]  # and its value with it

    # --- groups --------------------------------------------------------------------------------

    def _groups(self, calls: Sequence[ProgramCall]) -> tuple[tuple[str, ...], ...]:
        joined: dict[Callable[..., Any], list[str]] = {}
        for call in calls:
            future = self._open.get(call.key)
            by = future.joined_by() if future else None
            if by is not None:
                joined.setdefault(by, []).append(call.key)
        groups = {by: keys for by, keys in joined.items() if len(keys) > 1}
        self._grouped |= {key: by for by, keys in groups.items() for key in keys}
        return tuple(tuple(keys) for keys in groups.values())

    def _alone(self) -> tuple[str, ...]:
        """Return open calls of groups that the program now awaits outside their group."""
        alone = [key for key, by in self._grouped.items() if self._open[key].joined_by() != by]
        for key in alone:
            del self._grouped[key]
        return tuple(alone)

    def _raise_if_broken(self) -> None:
        if self._record.broken is not None:
            raise self._record.broken
