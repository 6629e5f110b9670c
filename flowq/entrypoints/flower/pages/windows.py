"""The time windows that pages offer; each ends now. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flowq.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Window:
    """A time window.

    Attributes:
        name: Its name in an address.
        words: Its text on a page.
    """

    name: str
    words: str
    length: timedelta

    def since(self, now: datetime) -> datetime:
        """Return when it begins."""
        return now - self.length


DAY: Final = Window("day", "last 24 hours", timedelta(days=1))
WEEK: Final = Window("week", "last 7 days", timedelta(days=7))
MONTH: Final = Window("month", "last 30 days", timedelta(days=30))
QUARTER: Final = Window("quarter", "last 90 days", timedelta(days=90))


def chosen(text: str, windows: tuple[Window, ...], default: Window) -> Window:
    """Return the window of a name.

    Raises:
        InvalidInput: no window has this name.
    """
    if not text:
        return default
    for window in windows:
        if window.name == text:
            return window
    names = ", ".join(window.name for window in windows)
    raise InvalidInput(f"there is no window of time “{text}”", hint=f"choose one of: {names}")
