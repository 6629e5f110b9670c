"""What steps have logged: the data of the tab Logs, and of the last lines on the page of a step.

Lines are contents: they are only read, and shown, with FLOWQ_SHOW_CONTENT=1. While more may come,
and for a moment after the end, the page reads them again every two seconds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from flowq.core.text.escaping import escaped
from flowq.engine.engine import Engine
from flowq.engine.logs import reading
from flowq.engine.model.logs import LEVELS, LogFilter, LogLine
from flowq.engine.queries.run_page import RunPage
from flowq.engine.queries.step_page import StepPage
from flowq.entrypoints.flower.pages.run.request import RunQuery, TemplateContext

#: Lines that the tab shows, and the page of a step.
_LINES: Final = 500
_LAST: Final = 50
#: How long after the end of a run its last lines may come.
_SETTLING: Final = timedelta(seconds=10)
_ITEM: Final = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)


def logs(engine: Engine, page: RunPage, asked: RunQuery) -> TemplateContext:
    """Read the newest lines."""
    shown: TemplateContext = {
        "levels": list(LEVELS),
        "live_lines": _more_may_come(page.run.completed_at),
        "lines": [],
        "more": False,
        "escaped": escaped,
    }
    if not asked.shows_content:
        return shown
    lines, more = reading.newest(engine, page.run.id, wanted(asked), limit=_LINES)
    return {**shown, "lines": lines, "more": more}


@dataclass(frozen=True, slots=True)
class LastLines:
    """The last lines of an attempt.

    Attributes:
        attempt: Its number; None for those of all items of a map.
        lines: The lines, the oldest first.
        is_cut: Whether there are older ones.
        is_live: Whether more may come.
    """

    attempt: int | None
    lines: Sequence[LogLine]
    is_cut: bool
    is_live: bool


def last_lines(engine: Engine, page: RunPage, step: StepPage, attempt: int | None) -> LastLines:
    """Read the last lines of an attempt of a step.

    Args:
        attempt: Its number; by default the last one.
    """
    chosen = None if step.map_size is not None else attempt or step.attempt
    wanted = LogFilter(step.key, step.index, chosen)
    lines, is_cut = reading.newest(engine, page.run.id, wanted, limit=_LAST)
    is_last = chosen in (None, step.attempt)
    return LastLines(chosen, lines, is_cut, is_last and _more_may_come(step.completed_at))


def _more_may_come(ended: datetime | None) -> bool:
    return ended is None or datetime.now(UTC) - ended < _SETTLING


def wanted(asked: RunQuery) -> LogFilter:
    """Return the lines that an address names; its `text` is a step, `fetch` or `fetch[5]`."""
    item = _ITEM.fullmatch(asked.text)
    step, index = (item[1], int(item[2])) if item else (asked.text or None, None)
    return LogFilter(step, index, asked.attempt, LEVELS.get(asked.level, 0))
