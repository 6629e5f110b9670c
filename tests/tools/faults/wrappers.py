"""What stands before the ports of the engine, so that each call of them passes its fault points.

A point of the database is named after the method of a repository: `before_claim` is before
`steps.claim`. At the first call of such a method its transaction is given up, the point is passed
while none is open, and the work is run again from its start, as the port `Records` allows; once it
is committed, the points `after_…` of what it called are passed. Other points are before and after
one call: of a dispatcher, of the store of results, of the user's code, of a model.

Without a hook the wrappers call what they wrap and do nothing else.
"""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Final

from flowq.adapters.dispatch.celery import CeleryDispatcher
from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.dispatch.unsent import UnsentDispatcher
from flowq.adapters.records.database import SqlRecords
from flowq.engine.results.store import ResultStore
from flowq.engine.runtime.execution import Attempt
from tests.tools.faults.points import FaultPoint, is_hooked, reach

#: From the name of a repository and its methods to the names of their points.
POINTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "runs": {
        "insert": ("submit",),
        "close": ("finish",),
        "request_cancel": ("cancel",),
        "pause": ("pause",),
        "resume": ("resume",),
    },
    "steps": {
        "claim": ("claim",),
        "claim_first": ("claim",),
        "complete": ("complete",),
        "complete_call": ("complete",),
        "complete_and_close": ("complete", "finish"),
        "complete_and_release": ("complete",),
        "complete_and_wake": ("complete", "wake"),
        "complete_for_next": ("complete", "wake", "suspend"),
        "fail": ("fail",),
        "retry": ("fail",),
        "advance": ("advance",),
        "release": ("advance",),
        "queue": ("advance",),
        "end_nodes": ("advance",),
        "expand": ("advance",),
        "suspend": ("suspend",),
        "wake": ("wake",),
        "renew": ("renew",),
    },
    "sweeps": {"expired_leases": ("sweep",), "delete_tree": ("delete",)},
    "cached": {"purge": ("collect",)},
}
_ALL: Final = frozenset(FaultPoint)


class _PassFirst(BaseException):
    """A transaction is given up, for a point to be passed before it."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Work:
    """A work of a transaction, and the points that it comes by."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work
        self._passed: set[str] = set()
        self.called: list[str] = []

    def __call__(self, tx: Any) -> Any:
        self.called.clear()
        return self._work(_Transaction(tx, self.call))

    def call(self, names: tuple[str, ...]) -> None:
        """Note a call of a method, or give up for a point before it."""
        for name in names:
            if name not in self._passed:
                raise _PassFirst(name)
        self.called += names

    def run(self, method: Callable[..., Any], records: Any, options: Mapping[str, Any]) -> Any:
        """Run it, and pass the points outside of its transaction."""
        while True:
            try:
                value = method(records, self, **options)
            except _PassFirst as first:
                self._passed.add(first.name)
                _reach("before", first.name)
            else:
                break
        for name in dict.fromkeys(self.called):
            _reach("after", name)
        return value


class _Transaction:
    """A transaction whose repositories say which of their methods are called."""

    def __init__(self, tx: Any, call: Callable[[tuple[str, ...]], None]) -> None:
        self._tx = tx
        self._call = call

    def __getattr__(self, name: str) -> Any:
        rows = getattr(self._tx, name)
        return _Rows(rows, POINTS[name], self._call) if name in POINTS else rows


class _Rows:
    """A repository that says which of its methods are called."""

    def __init__(
        self,
        rows: Any,
        points: Mapping[str, tuple[str, ...]],
        call: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._rows = rows
        self._points = points
        self._call = call

    def __getattr__(self, name: str) -> Any:
        if name in self._points:
            self._call(self._points[name])
        return getattr(self._rows, name)


def _reach(when: str, name: str) -> None:
    point = f"{when}_{name}"
    if point in _ALL:
        reach(FaultPoint(point))


def _around_work(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def wrapped(records: Any, work: Callable[[Any], Any], **options: Any) -> Any:
        if not is_hooked():
            return method(records, work, **options)
        return _Work(work).run(method, records, options)

    return wrapped


def _around_call(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def wrapped(*args: Any, **options: Any) -> Any:
        _reach("before", name)
        value = method(*args, **options)
        _reach("after", name)
        return value

    return wrapped


def _around_model(calling: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(calling)
    @asynccontextmanager
    async def wrapped(*args: Any, **options: Any) -> AsyncIterator[Any]:
        async with calling(*args, **options) as call:
            reach(FaultPoint.BEFORE_CALL)
            yield call
            reach(FaultPoint.AFTER_ANSWER)
        reach(FaultPoint.AFTER_CALL)

    return wrapped


def wrap_ports() -> None:
    """Stand before the ports of this process, and before the models where a module calls them."""
    if not hasattr(SqlRecords.transaction, "__wrapped__"):
        for name in ("transaction", "autocommit"):
            setattr(SqlRecords, name, _around_work(getattr(SqlRecords, name)))
        for owner, method, point in (
            (CeleryDispatcher, "send", "publish"),
            (InProcessDispatcher, "send", "publish"),
            (UnsentDispatcher, "send", "publish"),
            (ResultStore, "store", "result"),
            (Attempt, "call_sync", "code"),
            (Attempt, "call_async", "code"),
        ):
            setattr(owner, method, _around_call(point, getattr(owner, method)))
    recording = sys.modules.get("flowq.llm.recording")
    if recording is None or hasattr(recording.calling, "__faulty__"):
        return
    before, after = recording.calling, _around_model(recording.calling)
    after.__faulty__ = True  # type: ignore[attr-defined]
    for module in [one for key, one in sys.modules.items() if key.startswith("flowq.")]:
        for key, value in list(vars(module).items()):
            if value is before:
                setattr(module, key, after)
