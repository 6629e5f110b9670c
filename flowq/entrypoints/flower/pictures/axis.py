"""The time axis: from times to positions, and ticks at round times."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flowq.entrypoints.flower.pictures.svg import element, label

#: Minimum width of a bar.
_MIN_WIDTH: Final = 2.0
_STEPS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600),
    *(86_400, 2 * 86_400, 7 * 86_400, 30 * 86_400),
)
_MAX_TICKS: Final = 8


@dataclass(frozen=True, slots=True)
class Axis:
    """Converts times to positions."""

    begin: datetime
    end: datetime
    left: float
    right: float

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return (self.end - self.begin).total_seconds()

    def at(self, time: datetime) -> float:
        """Return the position of a time; times outside of the axis are at its ends."""
        share = (time - self.begin).total_seconds() / self.seconds
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def bar(self, begin: datetime, end: datetime, y: float, height: float, cls: str) -> str:
        """Return a bar from one time to another."""
        x = self.at(begin)
        width = max(self.at(end) - x, _MIN_WIDTH)
        return element("rect", x=x, y=y, width=width, height=height, rx=3, cls=cls)


def ticks(axis: Axis, top: float, bottom: float) -> Iterator[str]:
    """Yield ticks at round times since the beginning."""
    step = next((one for one in _STEPS if axis.seconds / one <= _MAX_TICKS), _STEPS[-1])
    number = 0
    while number * step <= axis.seconds and number <= 50:
        x = axis.at(axis.begin + timedelta(seconds=number * step))
        yield element("path", d=f"M{x:.1f} {top - 4:.1f}V{bottom:.1f}", cls="fq-grid")
        words = "0" if number == 0 else _round_time(number * step)
        yield label(x, top - 12, words, "fq-tick", text_anchor="middle")
        number += 1


def _round_time(seconds: float) -> str:
    for length, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            whole, rest = divmod(round(seconds), length)
            below = {86_400: (3600, "h"), 3600: (60, "min"), 60: (1, "s")}[length]
            return f"{whole} {name}" + (f" {rest // below[0]} {below[1]}" if rest else "")
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
