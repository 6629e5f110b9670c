"""The events tab: what happened in a run, and what somebody did to it, in one list.

Events come from the stream of the run, or from its rows if reading the stream takes too long, and
stay in the order in which they are read: workers and the database have clocks of their own, so a
run may end before its last step by their times. Actions are rows, and are put between the events by
time. The newest is first, so that a page that is open shows what comes; `order=oldest` reverses the
list. A filter leaves only actions, or only events of steps, of the run, or failures.
"""

import heapq
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Final

from flowq.core.errors import Unavailable
from flowq.core.events import (
    BatchStarted,
    Event,
    StepFailed,
    StepRetrying,
    StreamChunk,
    StreamEnded,
    StreamStarted,
    WorkflowError,
)
from flowq.core.ids import RunId
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.engine import Engine
from flowq.engine.events.follow import follow
from flowq.engine.events.rebuild import Recorded, begin, end, history
from flowq.engine.model.actions import ActionView
from flowq.engine.model.rows import RunView
from flowq.engine.queries.run_page import RunPage
from flowq.entrypoints import event_text
from flowq.entrypoints.flower.pages.run.request import RunQuery, TemplateContext

_MAX_SHOWN: Final = 300
#: With more step runs, or after this many seconds, events are rebuilt from the newest rows only.
_MAX_FOLLOWED: Final = 2_000
_PATIENCE: Final = 1.0
_STREAMED: Final = (StreamStarted, StreamChunk, StreamEnded)
_FAILURES: Final = (StepFailed, StepRetrying, WorkflowError)

#: What a filter keeps; an action is None here.
KINDS: Final[Mapping[str, Callable[[Event | None], bool]]] = {
    "all": lambda _: True,
    "actions": lambda event: event is None,
    "steps": lambda event: getattr(event, "step", None) is not None,
    "run": lambda event: event is None or event.event_type.startswith("WORKFLOW_"),
    "failures": lambda event: isinstance(event, _FAILURES),
}


@dataclass(frozen=True, slots=True)
class EventLine:
    """A line of the list.

    Attributes:
        kind: The type of the event, or what was done.
        step: The label of its step; None of other events.
        who: Who did it; None of events.
    """

    at: datetime
    kind: str
    what: str
    step: str | None = None
    who: str | None = None


def events(engine: Engine, page: RunPage, asked: RunQuery) -> TemplateContext:
    """Read the newest events of a run, and the actions on it."""
    run = page.run
    followed = None
    if run.total <= _MAX_FOLLOWED:
        followed = _followed(engine, run.id, shows_content=asked.shows_content)
    emitted = followed if followed is not None else _from_rows(engine, run)
    cut = len(emitted) > _MAX_SHOWN
    actions = engine.records.autocommit(lambda tx: tx.actions.of_run(run.id))
    if cut:
        # Before the first event that is shown only the actions would remain.
        actions = [one for one in actions if one.at >= emitted[-_MAX_SHOWN].timestamp]
    kind = asked.kind if asked.kind in KINDS else "all"
    keeps = KINDS[kind]
    lines = [_of_event(event) for event in emitted[-_MAX_SHOWN:] if keeps(event)]
    if keeps(None):
        lines = merged(
            lines, (_of_action(one, shows_content=asked.shows_content) for one in actions)
        )
    if asked.order != "oldest":
        lines.reverse()
    return {
        "lines": lines,
        "cut": cut,
        "is_whole": followed is not None,
        "kinds": list(KINDS),
        "kind": kind,
    }


def merged(events: Sequence[EventLine], actions: Iterable[EventLine]) -> list[EventLine]:
    """Return actions between events: each before the first event that is not earlier.

    Events keep their order; one that is earlier than an event before it counts as equally late.
    """
    late = zip(accumulate((line.at for line in events), max), events, strict=True)
    done = sorted(((line.at, line) for line in actions), key=_moment)
    return [line for _, line in heapq.merge(done, late, key=_moment)]


def _moment(timed: tuple[datetime, EventLine]) -> datetime:
    return timed[0]


def _of_event(event: Event) -> EventLine:
    step, index = getattr(event, "step", None), getattr(event, "index", None)
    label = step if step is None or index is None else f"{step}[{index}]"
    what = event_text.what(event)
    if label is not None:
        what = what.removeprefix(label).strip()
    return EventLine(event.timestamp, event.event_type, what, step=label)


def _of_action(action: ActionView, *, shows_content: bool) -> EventLine:
    what = event_text.of_action(action)
    if action.payload is not None and shows_content:
        what += f": {json.dumps(action.payload, ensure_ascii=False)[:500]}"
    return EventLine(action.at, action.kind, what, who=str(action.actor))


def _followed(engine: Engine, run_id: RunId, *, shows_content: bool) -> list[Event] | None:
    """Return the last events of a run from its stream; None if that takes too long.

    Streamed text is left out when content is hidden, so that it takes no place of other events.
    """
    late = time.monotonic() + _PATIENCE
    emitted: deque[Event] = deque(maxlen=_MAX_SHOWN + 1)
    try:
        for event in follow(engine, run_id, wait=False):
            if time.monotonic() > late:
                return None
            if shows_content or not isinstance(event, _STREAMED):
                emitted.append(event)
    except Unavailable:
        return None
    return list(emitted)


def _from_rows(engine: Engine, run: RunView) -> list[Event]:
    """Return events that are rebuilt from the newest rows, without those of batches."""
    known = engine.records.autocommit(
        lambda tx: Recorded(
            tx.overview.newest_progress(run.id, limit=_MAX_SHOWN), tx.meters.warnings(run.id)
        )
    )
    first: list[Event] = [begin(run, run.total)]
    emitted = [event for event in history(run, known) if not isinstance(event, BatchStarted)]
    last: list[Event] = [end(run)] if run.status in TERMINAL_RUN_STATES else []
    return [*first, *emitted, *last]
