"""The sweeper's part in fair shares: it sends what waits in a line of which nobody takes care.

Who claims a step sends the next ones of its line. If that process dies in between, or all steps
that were sent are cancelled with their messages lost, no claim follows. So one sweeper at a time
looks at all lines, from where the last turn has stopped.
"""

import json
from datetime import timedelta
from functools import partial
from typing import Final

from flowq.engine.advance.dispatch import send_next
from flowq.engine.engine import Engine
from flowq.engine.ports import Line, Transaction

_DUTY: Final = "shares"
#: Lines that one turn looks at.
_LINES: Final = 500
_START: Final = Line("", "")


def send_lines(engine: Engine, grace: timedelta) -> int:
    """Send the next steps of lines, if it is this sweeper's turn; returns how many.

    Args:
        grace: Twice the time between two turns.
    """
    records = engine.records
    position = records.autocommit(lambda tx: tx.sweeps.try_acquire(_DUTY, grace / 2))
    if position is None:
        return 0
    at, sent = Line(*json.loads(position)) if position else _START, 0
    for _ in range(_LINES):
        line = records.autocommit(partial(_next_line, after=at))
        at = line or _START
        if line is None:
            break
        if records.autocommit(partial(_has_room, line=line, window=engine.policies.share_window)):
            sent += send_next(engine, line)
    following = "" if at == _START else json.dumps(at)
    records.autocommit(lambda tx: tx.sweeps.save_cursor(_DUTY, following))
    return sent


def _has_room(tx: Transaction, line: Line, window: int) -> bool:
    return tx.shares.has_room(line, window)


def _next_line(tx: Transaction, after: Line) -> Line | None:
    return tx.shares.next_line(after)
