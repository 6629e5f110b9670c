"""The actions on a run, for the list of its events: each once, in the order of time."""

import time
from datetime import datetime
from typing import Final
from uuid import UUID

from flowq import bootstrap
from flowq.core.ids import RunId
from flowq.engine.model.actions import ActionView

#: Seconds between two reads while events are followed.
_PAUSE: Final = 1.0


class Actions:
    """Reads the actions on a run.

    Args:
        since_start: Whether those before the first event are returned too.
    """

    def __init__(self, run_id: RunId, *, since_start: bool) -> None:
        self._run_id = run_id
        self._skips = not since_start
        self._seen: set[UUID] = set()
        self._known: list[ActionView] = []
        self._next_read = 0.0

    def before(self, moment: datetime | None) -> list[ActionView]:
        """Return the actions until a moment that were not returned before; None: all of them."""
        if moment is None or time.monotonic() >= self._next_read:
            self._known = bootstrap.engine().records.autocommit(
                lambda tx: tx.actions.of_run(self._run_id)
            )
            self._next_read = time.monotonic() + _PAUSE
        found = [
            one
            for one in self._known
            if one.id not in self._seen and (moment is None or one.at <= moment)
        ]
        self._seen.update(one.id for one in found)
        skipped, self._skips = self._skips, False
        return [] if skipped else found
