"""The data of the tab Logs: the newest lines of a run, of its steps or of one of them.

Lines are contents: they are only read, and shown, with FLOWQ_SHOW_CONTENT=1. While the run is open,
and for a moment after its end, the page reads them again every two seconds.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from flowq.core.text.escaping import escaped
from flowq.engine.engine import Engine
from flowq.engine.logs import reading
from flowq.engine.model.logs import LEVELS, LogFilter
from flowq.engine.queries.run_page import RunPage
from flowq.entrypoints.flower.pages.run.request import RunQuery, TemplateContext

#: Lines that are shown.
_LINES: Final = 500
#: How long after the end of a run its last lines may come.
_SETTLING: Final = timedelta(seconds=10)
_ITEM: Final = re.compile(r"(.+)\[(\d{1,9})\]", re.DOTALL)


def logs(engine: Engine, page: RunPage, asked: RunQuery) -> TemplateContext:
    """Read the newest lines."""
    ended = page.run.completed_at
    live = ended is None or datetime.now(UTC) - ended < _SETTLING
    shown: TemplateContext = {
        "levels": list(LEVELS),
        "live_lines": live,
        "lines": [],
        "more": False,
        "escaped": escaped,
    }
    if not asked.shows_content:
        return shown
    lines, more = reading.newest(engine, page.run.id, wanted(asked), limit=_LINES)
    return {**shown, "lines": lines, "more": more}


def wanted(asked: RunQuery) -> LogFilter:
    """Return the lines that an address names; its `text` is a step, `fetch` or `fetch[5]`."""
    item = _ITEM.fullmatch(asked.text)
    step, index = (item[1], int(item[2])) if item else (asked.text or None, None)
    return LogFilter(step, index, asked.attempt, LEVELS.get(asked.level, 0))
