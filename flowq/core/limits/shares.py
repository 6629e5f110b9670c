"""Fair shares: how many queued steps of a share are sent, and which of them are next. Pure.

A run may have a *share*, the name of a tenant. Its queued steps are not all sent at once: those of
one share and one step type are a *line*, of which only so many are sent and not claimed yet as its
window is wide. So a step of another share waits behind a window of this one, not behind its whole
line. Running attempts are not counted, so a share that is alone has all workers.

The place of a step in its line is in its `wake_at`, which is so late that no sweeper looks at it:
urgent runs first, and of equal ones the step that was queued first. A step that is sent gets a
`wake_at` like every other queued step. So it is rows that are counted, and nothing can leak.
"""

from datetime import timedelta
from typing import Final

from flowq.core.limits.queueing import MAX_PRIORITY

_YEAR: Final = timedelta(days=365)
#: The place of a step of the most urgent run; each smaller priority is ten years behind it.
_FIRST: Final = 200 * _YEAR
_BETWEEN_PRIORITIES: Final = 10 * _YEAR
#: Queued steps with a later `wake_at` are in a line. A pause parks for a hundred years.
IN_LINE_FROM: Final = 150 * _YEAR
#: Those with an earlier one were sent. A step that waits for a limit is due before it: it keeps its
#: place in the window, or all of a line would go over into that of the limit.
SENT_UNTIL: Final = 50 * _YEAR
WAITS_FOR_LIMIT: Final = 40 * _YEAR


def place_in_line(priority: int) -> timedelta:
    """Return how much later than now the `wake_at` of a step is that is put into its line.

    Args:
        priority: That of its run.
    """
    return _FIRST + (MAX_PRIORITY - priority) * _BETWEEN_PRIORITIES


def place_behind(priority: int) -> timedelta:
    """Return how much later than now a time is that parts the places of a priority from others."""
    return place_in_line(priority) + _YEAR


def most_unclaimed(window: int) -> int:
    """Return with how many unclaimed steps, at most, the next ones of a line are sent.

    They are sent in bunches of half a window or more, so that the cost of each step is small.
    """
    return window // 2


def to_send(window: int, unclaimed: int) -> int:
    """Return how many steps of a line are sent now.

    Args:
        window: How many may be sent and unclaimed.
        unclaimed: How many are.
    """
    return window - unclaimed if unclaimed <= most_unclaimed(window) else 0
