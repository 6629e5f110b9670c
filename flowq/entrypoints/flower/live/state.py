"""The state that live pages show, as lines, with a number for each change.

A page gets no log of events, but the lines that differ from those it has: it sends the last number
that it knows, and the change log returns all lines that have changed since. So a slow or
disconnected page gets fewer messages, not late ones; nothing is buffered for it, and nothing can be
missing. The number of another change log, for example from before a restart of Flower, is invalid;
the answer is then everything.
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

#: With more changes than these in one message the page should be reloaded.
_MAX_LINES: Final = 400
#: Pieces of text that are kept for pages that connect a moment late.
_MAX_PIECES: Final = 200
#: Maximum digits of the number of a change.
_MAX_DIGITS: Final = 20

Line = dict[str, Any]

_ENDS: Final[Mapping[type[Any], RunState]] = {
    WorkflowCompleted: RunState.COMPLETED,
    WorkflowError: RunState.FAILED,
    WorkflowCancelled: RunState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes of a change log since a number.

    Attributes:
        id: Where to continue: the `Last-Event-ID` of a page.
        lines: The changed lines by kind, in their present state.
        reload: So much has changed that the page should be reloaded.
    """

    id: str
    lines: Mapping[str, list[Line]]
    reload: bool = False

    def __bool__(self) -> bool:
        return bool(self.lines) or self.reload

    def data(self) -> Any:
        """Return it as JSON data."""
        data: dict[str, Any] = dict(self.lines)
        if self.reload:
            data["reload"] = True
        return shown(data)

    def sse(self) -> str:
        """Return it as a server-sent event."""
        return f"id: {self.id}\ndata: {json.dumps(self.data(), separators=(',', ':'))}\n\n"


class ChangeLog:
    """Lines by kind and key, each with the number of its last change; safe to use from threads."""

    def __init__(self) -> None:
        self._name = uuid4().hex[:12]
        self._version = 0
        self._lines: dict[tuple[str, str], tuple[int, Line]] = {}
        self._pieces: deque[tuple[int, Line]] = deque(maxlen=_MAX_PIECES)
        self._lock = threading.Lock()

    def put(self, kind: str, key: str, line: Line) -> bool:
        """Set a line; return whether it has changed."""
        line = {name: _plain(value) for name, value in line.items() if value is not None}
        with self._lock:
            before = self._lines.get((kind, key))
            if before is not None and before[1] == line:
                return False
            self._version += 1
            self._lines.pop((kind, key), None)  # so that the last changes are last
            self._lines[kind, key] = self._version, line
            return True

    def add(self, line: Line) -> None:
        """Add a piece of text; only pages that are connected now get it."""
        with self._lock:
            self._version += 1
            self._pieces.append((self._version, line))

    def drop(self, kind: str, key: str) -> None:
        """Remove a line, without a change for pages."""
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
    """The line of a step; of a map, with the numbers of ended and failed items."""

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
    status: RunState | None = None  #: The status of its row, or of its last event.
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
    """The state of one run as pages show it, projected from its events.

    Attributes:
        shows_content: Whether it has streamed text and messages of errors.
    """

    shows_content: bool = False
    changes: ChangeLog = field(default_factory=ChangeLog)
    _run: _RunLine = field(default_factory=_RunLine)
    _steps: dict[str, _StepLine] = field(default_factory=dict)
    #: The usage of each step run that has used anything.
    _used: dict[tuple[str, int | None], Usage] = field(default_factory=dict)
    #: The sum of them, and the usage that the rows of the run have.
    _heard: Usage = field(default_factory=Usage)
    _recorded: Usage | None = None
    _least_total: int = 0

    @property
    def ended(self) -> bool:
        """Whether the run has ended, so that nothing will change any more."""
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
                self._run.done = 0
                self._set_total(event.total_steps)
            case ProgressUpdate():
                self._run.done = event.done
                self._set_total(event.total)
            case WorkflowCompleted() | WorkflowError() | WorkflowCancelled():
                self._run.status, self._run.ended = _ENDS[type(event)], True
                self._run.ms = event.execution_time_ms
                used = Usage(event.total_tokens, event.total_cost, event.unpriced_calls)
                _set(self._run, used)
                self._cancel_rest()
        return self._put_run()

    def _cancel_rest(self) -> None:
        """Show open steps as cancelled when their run ends: they have no event."""
        for step in self._steps.values():
            if step.status not in TERMINAL_STEP_STATES:
                step.status = StepState.CANCELLED
                self._put_step(step)

    def set_status(self, status: RunState, used: Usage | None = None, total: int = 0) -> bool:
        """Set what the rows of the run say, and no event.

        Args:
            status: It may be paused, or stopping.
            used: The usage of its steps, also of running ones; None if it is not known.
            total: Its step runs, also of a map that was expanded since the last event.
        """
        if self._run.ended or status in TERMINAL_RUN_STATES:
            return False
        self._run.status = status
        self._least_total = max(self._least_total, total)
        self._set_total(self._run.total)
        if used is not None:
            self._recorded = used
            _set(self._run, self._used_by_run())
        return self._put_run()

    def _set_total(self, told: int | None) -> None:
        """Set the number of step runs, once an event has told it: it only grows."""
        self._run.total = told if told is None else max(told, self._least_total)

    def _used_by_run(self) -> Usage:
        """Return the usage of the run: the events may be newer than the rows that were read."""
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
        """Add the usage of a step run since its last event."""
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
