"""Faults for whole processes, from the text of CHAOS_FAULTS: what breaks, where, how often.

    after_claim:kill                 this process ends as by kill -9, once
    after_publish:raise*3            the first three times, as if the broker had not answered
    before_code:delay=2.5*inf        each time, 2.5 seconds
    before_complete:stop             this process stops (SIGSTOP) until somebody continues it
    after_claim:kill@5               the fifth time
    after_claim:kill;before_finish:raise

Counts are kept in files of one folder, so that "once" means once for all processes that share it,
also for those that are started after the first one was killed.
"""

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowq.core.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    FlowqError,
    StoreUnavailable,
    Unavailable,
)
from tests.tools.faults.points import FaultPoint, Hook

_FORM: Final = re.compile(
    r"(?P<point>\w+):(?P<action>kill|stop|raise|delay)(=(?P<seconds>[\d.]+))?"
    r"(\*(?P<times>\d+|inf))?(@(?P<first>\d+))?"
)

#: What an outage at these points looks like; elsewhere it is the database that is away.
_OUTAGES: Final[dict[FaultPoint, type[Unavailable]]] = {
    FaultPoint.BEFORE_PUBLISH: BrokerUnavailable,
    FaultPoint.AFTER_PUBLISH: BrokerUnavailable,
    FaultPoint.BEFORE_RESULT: StoreUnavailable,
    FaultPoint.AFTER_RESULT: StoreUnavailable,
}


@dataclass(frozen=True)
class Fault:
    """One thing that breaks.

    Attributes:
        first: From which time on that the point is reached, from 1.
        times: How often.
        seconds: Length of a delay.
    """

    point: FaultPoint
    action: str
    first: int = 1
    times: float = 1
    seconds: float = 0.0

    def happen(self) -> None:
        """Break."""
        if self.action == "delay":
            time.sleep(self.seconds)
        elif self.action == "raise":
            kind = _OUTAGES.get(self.point, DatabaseUnavailable)
            raise kind(f"a fault was injected at {self.point}")
        else:
            os.kill(os.getpid(), signal.SIGKILL if self.action == "kill" else signal.SIGSTOP)


def parse(text: str) -> list[Fault]:
    """Read faults, separated by `;`.

    Raises:
        FlowqError: one of them cannot be read.
    """
    return [_parse_one(part.strip()) for part in text.split(";") if part.strip()]


def _parse_one(text: str) -> Fault:
    found = _FORM.fullmatch(text)
    if found is None or found["point"] not in set(FaultPoint):
        raise FlowqError(
            f"CHAOS_FAULTS has {text!r}, which is no fault",
            hint="e.g. after_claim:kill@2; points: " + ", ".join(FaultPoint),
        )
    return Fault(
        FaultPoint(found["point"]),
        found["action"],
        int(found["first"] or 1),
        float(found["times"] or 1),
        float(found["seconds"] or 0),
    )


def hook(faults: list[Fault], folder: Path) -> Hook:
    """Return a hook that lets the faults happen and counts in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    by_point: dict[FaultPoint, list[tuple[Fault, Callable[[], int]]]] = {}
    for number, fault in enumerate(faults):
        counter = _counter(folder, f"{number}-{fault.point}")
        by_point.setdefault(fault.point, []).append((fault, counter))

    def reached(point: FaultPoint) -> None:
        for faulty in by_point.get(point, ()):
            fault, next_number = faulty
            number = next_number()
            if number >= fault.first + fault.times - 1:
                # That was its last time; to go on counting would only cost.
                by_point[point] = [one for one in by_point[point] if one is not faulty]
            if fault.first <= number < fault.first + fault.times:
                fault.happen()

    return reached


def _counter(folder: Path, name: str) -> Callable[[], int]:
    """Return a function that counts over all processes: whoever creates the next file has it."""

    def next_number() -> int:
        number = len(list(folder.glob(f"{name}.*"))) + 1
        while True:
            try:
                (folder / f"{name}.{number}").touch(exist_ok=False)
            except FileExistsError:
                number += 1
            else:
                return number

    return next_number
