"""The handle of a run: `enqueue` returns one, `Run.get` finds one again from anywhere.

A handle has an id and reads the rows when used. It never waits for a Celery result: those are
deleted early, and polling them costs Redis one request per step.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

from flowq import bootstrap
from flowq.client.awaiting import until_ended, within
from flowq.client.events import RunEvents
from flowq.client.rerunning import Rerunning
from flowq.client.waiting import FoundRun, not_there, read_status, too_late, wait
from flowq.core.errors import RunCancelled, RunFailed, RunNotFound
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.advance.finish import output
from flowq.engine.attempts import budgets
from flowq.engine.events.follow import position
from flowq.engine.logs import reading
from flowq.engine.logs.reading import log_filter
from flowq.engine.model.logs import LogLine
from flowq.engine.model.rows import RunView
from flowq.engine.registry.registry import registry
from flowq.engine.results.codecs import adapter_for, coerce
from flowq.engine.runs import cancel, pause, signals
from flowq.engine.sweeper import retention

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class Run(Rerunning, Generic[R_co]):
    """One execution of a flow.

    Attributes:
        id: Its id.
        flow_name: The name of its flow.
    """

    id: RunId
    flow_name: str

    @classmethod
    def get(cls, run_id: UUID | str) -> "Run[Any]":
        """Find a run by its id, or by the first characters of it.

        Raises:
            RunNotFound: no run, or more than one, has such an id.
        """
        found = bootstrap.engine().records.autocommit(lambda tx: tx.runs.find(str(run_id)))
        if len(found) == 1:
            return Run(*found[0])
        if found:
            raise RunNotFound(
                f"several runs have an id that begins with {run_id}",
                hint=f"give more characters, e.g. {found[0][0]}",
            )
        raise RunNotFound(f"no run has the id {run_id}", hint="flowq runs ls")

    @property
    def status(self) -> RunState:
        """The state of the run now."""
        return read_status(self.id).state

    @property
    def progress(self) -> float:
        """Share of finished steps, from 0.0 to 1.0; it falls when a map gets its items."""
        view = self.view()
        return view.done / view.total if view.total else 1.0

    def view(self) -> RunView:
        """Return the run and its steps as they are now."""
        view = bootstrap.engine().records.autocommit(lambda tx: tx.runs.view(self.id))
        if view is None:
            raise not_there(self.id)
        return view

    @property
    def newest(self) -> "Run[R_co]":
        """The run as which this one continues (`flowq.continue_as_new`), or this one itself."""
        return replace(self, id=signals.newest(bootstrap.engine(), self.id))

    def wait(self, timeout: float | None = None) -> RunState:
        """Wait until the run is finished; if it continues as a new run, until that one has.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Raises:
            ResultTimeout: it did not end in time. The run continues.
            WouldBlock: it is not finished, and a worker runs this; see `flowq.allow_waiting`.
        """
        return self._follow(timeout)[1].state

    async def aresult(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109 - see `result`
        """Wait for the run without blocking the event loop; arguments and errors as of `result`.

        All runs that a process awaits share one thread and one connection to the database.
        """
        last, state = await self._afollow(timeout)
        return await asyncio.to_thread(_value, last, FoundRun(state))

    async def await_end(self, timeout: float | None = None) -> RunState:  # noqa: ASYNC109
        """Like `wait`, without blocking the event loop."""
        return (await self._afollow(timeout))[1]

    async def _afollow(self, seconds: float | None) -> "tuple[Run[R_co], RunState]":
        deadline = None if seconds is None else time.monotonic() + seconds
        last, state = self, await _await_end(self, seconds, deadline)
        while state is RunState.COMPLETED:
            following: Run[R_co] = await asyncio.to_thread(getattr, last, "newest")
            if following == last:
                break
            last, state = following, await _await_end(following, seconds, deadline)
        return last, state

    @classmethod
    async def aget(cls, run_id: UUID | str) -> "Run[Any]":
        """Like `get`, without blocking the event loop."""
        return await asyncio.to_thread(cls.get, run_id)

    async def aview(self) -> RunView:
        """Like `view`, without blocking the event loop."""
        return await asyncio.to_thread(self.view)

    async def acancel(self, reason: str | None = None) -> RunState:
        """Like `cancel`, without blocking the event loop."""
        return await asyncio.to_thread(self.cancel, reason)

    async def apause(self, reason: str | None = None) -> RunState:
        """Like `pause`, without blocking the event loop."""
        return await asyncio.to_thread(self.pause, reason)

    async def aresume(self) -> RunState:
        """Like `resume`, without blocking the event loop."""
        return await asyncio.to_thread(self.resume)

    async def asend_signal(self, name: str, payload: Any = None, *, session: object = None) -> None:
        """Like `send_signal`, without blocking the event loop.

        Args:
            name: Which signal.
            payload: What it says: JSON data, or a pydantic model.
            session: An `AsyncSession` on flowq's database.
        """
        await within(session, partial(self.send_signal, name, payload))

    def _follow(
        self, timeout: float | None, *, output: bool = False
    ) -> "tuple[Run[R_co], FoundRun]":
        """Wait for the last run as which this one continues; return that, and its row."""
        deadline = None if timeout is None else time.monotonic() + timeout
        last, found = self, wait(self.id, self.flow_name, timeout, deadline, output=output)
        while found.state is RunState.COMPLETED and found.following is not None:
            last = replace(last, id=found.following)
            found = wait(last.id, last.flow_name, timeout, deadline, output=output)
        return last, found

    def events(
        self, after: str | None = None, *, timeout: float | None = None, wait: bool = True
    ) -> "RunEvents":
        """Follow what happens in the run, from its first event to its last.

        Use it with `for`, or with `async for` in async code. It continues by itself after any
        failure of Redis, and yields no event twice.

        Args:
            after: Id of an event to continue after, in this process or another. If the later events
                are not known any more, all events are repeated, from WORKFLOW_STARTED on.
            timeout: Seconds; None follows without limit.
            wait: False ends with the last event so far.

        Raises:
            ResultTimeout: while it is used: the run did not end in time. It continues.
            InvalidInput: `after` is not the id of an event.
            WouldBlock: while it is used: the run is not finished, and this code runs in a worker.
            RunNotFound: while it is used: the run was deleted.
        """
        if after is not None:
            position(after)
        return RunEvents(self.id, self.flow_name, after, timeout, wait=wait)

    def logs(
        self,
        step: str | None = None,
        *,
        index: int | None = None,
        attempt: int | None = None,
        level: str | None = None,
        follow: bool = False,
    ) -> Iterator[LogLine]:
        """Yield what the steps of the run have logged, in the order of time.

        Workers write lines about a second after they were logged.

        Args:
            step: Only of the step with this key; of a map of all its items.
            index: Only of this item of the map, from 0.
            attempt: Only of attempts with this number, from 1.
            level: Only lines of at least this level, e.g. `"warning"`.
            follow: Whether to wait for further lines until the run is finished. Lines that were
                written late come late.

        Raises:
            InvalidInput: there is no such level.
            Unavailable: while it is used: the database or the object store cannot be used.
        """
        engine, wanted = bootstrap.engine(), log_filter(step, index, attempt, level)
        return (
            reading.follow(engine, self.id, wanted)
            if follow
            else reading.lines(engine, self.id, wanted)
        )

    def cancel(self, reason: str | None = None) -> RunState:
        """Cancel the run and its child runs; terminal steps and runs do not change.

        Steps that have not begun never will; running ones are asked to end, and after a time
        stopped where that is possible (`flowq docs timeouts-and-cancel`).

        Args:
            reason: Who cancels it and why; it is in the error of `result()`.

        Returns:
            The new state of the run: `cancelling` while a step still runs, `cancelled`, or its
            terminal state if it was finished before, such as `completed`.

        Raises:
            RunNotFound: the run is gone.
        """
        return cancel.cancel(bootstrap.engine(), self.newest.id, reason)

    def delete(self) -> int:
        """Delete the run and its child runs, with their steps, calls of models, results and logs.

        Their cost is no longer in the sums of `flowq runs cost`.

        Returns:
            The number of deleted runs.

        Raises:
            RunNotFound: the run is gone.
            InvalidInput: it, or a child run, is not finished; it is a child run; or a rerun exists.
            Unavailable: the database, or the object store, cannot be used now.
        """
        return retention.delete_now(bootstrap.engine(), self.id)

    def send_signal(self, name: str, payload: Any = None, *, session: object = None) -> None:
        """Send the run a signal, which its flow receives with `flowq.signal(name)`.

        It is kept until the flow waits for it; signals of one name arrive in the order in which
        they were sent. If the run continues as a new one, that one gets it.

        Args:
            name: Which signal.
            payload: What it says: JSON data, or a pydantic model.
            session: An SQLAlchemy session on flowq's database; the signal is sent if, and when,
                its transaction is committed.

        Raises:
            InvalidInput: it does not fit the flow's wait, or cannot be stored; nothing was sent.
            SignalRefused: the run is finished, or is of a `def` flow.
            RunNotFound: the run is gone.
            Unavailable: the database cannot be used now.
        """
        signals.send_signal(bootstrap.engine(), self.id, name, payload, session=session)

    def pause(self, reason: str | None = None) -> RunState:
        """Pause the run and its child runs: nothing of them begins until they are resumed.

        Running steps run to their end. The run's deadline still passes.

        Args:
            reason: Who pauses it and why; `flowq runs show` shows it.

        Returns:
            The new state of the run: `paused`, or another one if it is stopping or is finished.

        Raises:
            RunNotFound: the run is gone.
        """
        return pause.pause(bootstrap.engine(), self.id, reason)

    def resume(self) -> RunState:
        """Resume the run where it was paused, with its paused child runs.

        Returns:
            The new state of the run: `running`; or another one if it is stopping or is finished, as
            it does immediately if all its steps have.

        Raises:
            RunNotFound: the run is gone.
        """
        return budgets.resume_by_hand(bootstrap.engine(), self.id)

    def raise_budget(
        self, *, usd: Decimal | float | str | None = None, tokens: int | None = None
    ) -> RunState:
        """Raise the budget of the run, and resume it if the spent budget had paused it.

        Args:
            usd: The new total cost; None leaves it as it is.
            tokens: The same, in tokens.

        Returns:
            The new state of the run.

        Raises:
            RunNotFound: the run is gone.
            InvalidInput: it has no such budget, or one as large; or it is finished.
        """
        return budgets.raise_budget(bootstrap.engine(), self.id, usd=usd, tokens=tokens)

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for the run and return the result of its flow, of its annotated type.

        If the run continues as a new one, it is the result of the last one. In a process that has
        not imported the flow it is returned as plain data.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Raises:
            ResultTimeout: it did not end in time. The run continues.
            WouldBlock: it is not finished, and a worker runs this; see `flowq.allow_waiting`.
            RunFailed: it failed; the message says which step and why.
            RunCancelled: it was cancelled; the message has the reason that was given.
            ResultMissing: it completed, but a large result is missing in the store.
        """
        last, found = self._follow(timeout, output=True)
        return _value(last, found)


def _value(run: Run[R], found: FoundRun) -> R:
    """Return the result of a run that is finished."""
    if found.state is not RunState.COMPLETED:
        error = run.view().error or "no reason was recorded"
        kind = RunFailed if found.state is RunState.FAILED else RunCancelled
        raise kind(f"run {run.id} {found.state}: {error}", hint=f"flowq runs show {run.id}")
    engine = bootstrap.engine()
    definition = engine.definitions.get(run.id).definition
    value = output(engine, definition, found.nodes)
    flow = registry.flows.get(run.flow_name)
    if flow is None:
        return value  # type: ignore[no-any-return]
    where = f"the output of {run.flow_name}"
    return coerce(value, adapter_for(flow.returns), where=where)  # type: ignore[no-any-return]


async def _await_end(run: Run[Any], seconds: float | None, deadline: float | None) -> RunState:
    try:
        state = await until_ended(run.id, run.flow_name, deadline)
    except TimeoutError:
        now = await asyncio.to_thread(lambda: run.status)
        if now in TERMINAL_RUN_STATES:
            return now
        raise await asyncio.to_thread(too_late, run.id, now, seconds) from None
    if state is None:
        raise not_there(run.id)
    return state
