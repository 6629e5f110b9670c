"""Waiting for something that another process does.

The one place in the suite that sleeps. A test names what it waits for and how long it may take;
it goes on at once when that is so, and fails with that name when it is not. The time is for a slow
machine that has other work too: it costs nothing when all is well, and is no measure of speed.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Pauses between two questions: what lasts is asked for less often, since that costs the core that
#: the other process needs.
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.1


def wait_until(condition: Callable[[], T], *, timeout: float = 120.0, what: str) -> T:
    """Return the first true answer of `condition`, asked again and again.

    Raises:
        AssertionError: There was none within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(pause)
        pause = min(1.25 * pause, LONGEST_PAUSE)
