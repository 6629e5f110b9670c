"""What live pages show: the latest state of each thing, with a number for each change.

A page is never sent a log of events, but what differs from what it has seen: it names the last
number it knows, and a change log answers with all that has changed since. So a page that is slow,
or was away for a while, gets less and not later; nothing is kept for it, and nothing can be
missing. The number of a change log that is gone, after a restart of Flower say, means nothing to
the next one, which then answers with everything.
"""

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

from flowq.core.events import (
    BatchStarted,
    Event,
    ProgressUpdate,
    StepCompleted,
    StepEvent,
    StepFailed,
    StepRetrying,
    StepSkipped,
    StepStarted,
    StreamChunk,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowError,
    WorkflowStarted,
)
from flowq.core.states import TERMINAL_RUN_STATES, TERMINAL_STEP_STATES, RunState, StepState
from flowq.core.text.json_values import shown
from flowq.core.usage import Usage

#: More changes than these in one message, and the page had better be read again.
_MAX_LINES: Final = 400
#: Pieces of text that are kept for pages that come a moment late.
_MAX_PIECES: Final = 200
#: More digits than any number of a change has.
_MAX_DIGITS: Final = 20

Line = dict[str, Any]

_ENDS: Final[Mapping[type[Any], RunState]] = {
    WorkflowCompleted: RunState.COMPLETED,
    WorkflowError: RunState.FAILED,
    WorkflowCancelled: RunState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Delta:
    """What has changed in a change log.

    Attributes:
        id: Where to continue: the `Last-Event-ID` of a page.
        lines: By its kind, each thing that has changed, in its present state.
        reload: So much has changed that the page should be read again.
    """

    id: str
    lines: Mapping[str, list[Line]]
    reload: bool = False

    def __bool__(self) -> bool:
        return bool(self.lines) or self.reload

    def sse(self) -> str:
        """Return it as a message of an event stream."""
        data: dict[str, Any] = dict(self.lines)
        if self.reload:
            data["reload"] = True
        return f"id: {self.id}\ndata: {json.dumps(shown(data), separators=(',', ':'))}\n\n"


class ChangeLog:
    """Lines by kind and key, each with the number of its last change; safe to use from threads."""

    def __init__(self) -> None:
        self._name = uuid4().hex[:12]
        self._version = 0
        self._lines: dict[tuple[str, str], tuple[int, Line]] = {}
        self._pieces: deque[tuple[int, Line]] = deque(maxlen=_MAX_PIECES)
        self._lock = threading.Lock()

    def put(self, kind: str, key: str, line: Line) -> bool:
        """Set the state of something; return whether that is new."""
        line = {name: _plain(value) for name, value in line.items() if value is not None}
        with self._lock:
            before = self._lines.get((kind, key))
            if before is not None and before[1] == line:
                return False
            self._version += 1
            self._lines.pop((kind, key), None)  # so that those changed last are last
            self._lines[kind, key] = self._version, line
            return True

    def add(self, line: Line) -> None:
        """Add a piece of text, which only those get who look on now."""
        with self._lock:
            self._version += 1
            self._pieces.append((self._version, line))

    def drop(self, kind: str, key: str) -> None:
        """Forget a line, without a change for pages."""
        with self._lock:
            self._lines.pop((kind, key), None)

    def since(self, seen: str) -> Delta:
        """Return what has changed after `seen`; everything, if that is not of this log."""
        name, _, number = seen.partition("-")
        ours = name == self._name and number.isdecimal() and len(number) < _MAX_DIGITS
        version = int(number) if ours else 0
        with self._lock:
            here = f"{self._name}-{self._version}"
            found: dict[str, list[Line]] = {}
            count = 0
            for (kind, _), line in self._newest(version):
                count += 1
                found.setdefault(kind, []).append(line)
            texts = [line for number, line in self._pieces if version and number > version]
        if texts:
            found["text"] = texts
        if count > _MAX_LINES:
            return Delta(here, {"run": found["run"]} if "run" in found else {}, reload=True)
        return Delta(here, {kind: lines[::-1] for kind, lines in found.items()})

    def _newest(self, version: int) -> Iterator[tuple[tuple[str, str], Line]]:
        for place, (number, line) in reversed(self._lines.items()):
            if number <= version:
                return
            yield place, line


def _set(line: "_StepLine | _RunLine", used: Usage) -> None:
    line.tokens, line.cost, line.unpriced = used.tokens, used.cost, used.unpriced


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime) else value


@dataclass
class _StepLine:
    """The state of a step; of a map, how many of its items have ended and failed."""

    key: str
    status: StepState | None = None
    attempt: int | None = None
    tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    since: datetime | None = None
    items: int | None = None
    done: int | None = None
    failed: int | None = None
    error: str | None = None


@dataclass
class _RunLine:
    status: RunState | None = None  #: What its row says, or its last event.
    done: int | None = None
    total: int | None = None
    tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    ms: int | None = None
    since: datetime | None = None
    ended: bool = False


@dataclass
class RunProjection:
    """The state of one run as pages show it, made from its events.

    Attributes:
        shows_content: Whether streamed text and messages of errors are in it.
    """

    shows_content: bool = False
    changes: ChangeLog = field(default_factory=ChangeLog)
    _run: _RunLine = field(default_factory=_RunLine)
    _steps: dict[str, _StepLine] = field(default_factory=dict)
    #: What each step run has used; those that have used nothing are left out.
    _used: dict[tuple[str, int | None], Usage] = field(default_factory=dict)
    #: What all of them have used, and what the rows of the run have said.
    _heard: Usage = field(default_factory=Usage)
    _recorded: Usage | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has ended: nothing will change any more."""
        return self._run.ended

    def take(self, event: Event) -> bool:
        """Apply an event; return whether anything has changed."""
        match event:
            case BatchStarted():
                return self._batch(event)
            case StreamChunk():
                return self._text(event)
            case StepStarted() | StepRetrying() | StepCompleted() | StepFailed() | StepSkipped():
                return self._step(event)
            case WorkflowStarted():
                self._run.since = event.timestamp
                self._run.done, self._run.total = 0, event.total_steps
            case ProgressUpdate():
                self._run.done, self._run.total = event.done, event.total
            case WorkflowCompleted() | WorkflowError() | WorkflowCancelled():
                self._run.status, self._run.ended = _ENDS[type(event)], True
                self._run.ms = event.execution_time_ms
                used = Usage(event.total_tokens, event.total_cost, event.unpriced_calls)
                _set(self._run, used)
                self._cancel_rest()
        return self._put_run()

    def _cancel_rest(self) -> None:
        """Show as cancelled what has not ended when its run does: no event tells of it."""
        for step in self._steps.values():
            if step.status not in TERMINAL_STEP_STATES:
                step.status = StepState.CANCELLED
                self._put_step(step)

    def set_status(self, status: RunState, used: Usage | None = None) -> bool:
        """Put what the run's rows say, which no event does.

        Args:
            status: It may be paused, or stopping.
            used: What its steps have used, those that are running too; None if it is not known.
        """
        if self._run.ended or status in TERMINAL_RUN_STATES:
            return False
        self._run.status = status
        if used is not None:
            self._recorded = used
            _set(self._run, self._used_by_run())
        return self._put_run()

    def _used_by_run(self) -> Usage:
        """Return what the run has used: its rows were read a moment ago, events may be newer."""
        events, rows = self._heard, self._recorded
        if rows is None:
            return events
        return Usage(max(events.tokens, rows.tokens), max(events.cost, rows.cost), rows.unpriced)

    def _batch(self, event: BatchStarted) -> bool:
        for key in event.steps:
            step = self._of(key)
            if event.items is not None:
                step.status, step.items = StepState.RUNNING, event.items
                step.done, step.failed = step.done or 0, step.failed or 0
                step.since = step.since or event.timestamp
            self._put_step(step)
        return True

    def _step(self, event: StepEvent) -> bool:
        step = self._of(event.step)
        if event.index is None:
            self._node(step, event)
        else:
            self._item(step, event)
        if isinstance(event, StepCompleted | StepFailed | StepRetrying):
            self._add(step, event)
        return self._put_step(step)

    def _add(self, step: _StepLine, event: StepCompleted | StepFailed | StepRetrying) -> None:
        """Add what a step run has used since it was heard of last."""
        place = event.step, event.index
        before = self._used.get(place, Usage())
        now = Usage(
            before.tokens if event.tokens is None else event.tokens,
            before.cost if event.cost is None else event.cost,
            before.unpriced if event.unpriced_calls is None else event.unpriced_calls,
        )
        if now == before:
            return
        self._used[place] = now
        more = Usage(
            now.tokens - before.tokens, now.cost - before.cost, now.unpriced - before.unpriced
        )
        self._heard += more
        _set(step, Usage(step.tokens, step.cost, step.unpriced) + more)
        _set(self._run, self._used_by_run())
        self._put_run()

    def _node(self, step: _StepLine, event: StepEvent) -> None:
        step.attempt = event.attempt or step.attempt
        match event:
            case StepStarted():
                step.status, step.since = StepState.RUNNING, event.timestamp
            case StepRetrying():
                step.status, step.error = StepState.RETRYING, event.error_type
            case StepFailed():
                step.status, step.error = StepState.FAILED, event.error_type
            case StepCompleted():
                step.status, step.error = StepState.COMPLETED, None
            case StepSkipped():
                step.status = StepState.SKIPPED

    def _item(self, step: _StepLine, event: StepEvent) -> None:
        step.attempt = max(step.attempt or 0, event.attempt) or None
        if isinstance(event, StepCompleted | StepFailed | StepSkipped):
            step.done = (step.done or 0) + 1
            step.failed = (step.failed or 0) + isinstance(event, StepFailed)

    def _text(self, event: StreamChunk) -> bool:
        if self.shows_content:
            place = {"key": event.step, "index": event.index, "attempt": event.attempt}
            place |= {"stream": event.stream, "offset": event.offset, "text": event.text}
            self.changes.add(place)
        return self.shows_content

    def _of(self, key: str) -> _StepLine:
        return self._steps.setdefault(key, _StepLine(key))

    def _put_step(self, step: _StepLine) -> bool:
        return self.changes.put("steps", step.key, asdict(step))

    def _put_run(self) -> bool:
        return self.changes.put("run", "", asdict(self._run))
