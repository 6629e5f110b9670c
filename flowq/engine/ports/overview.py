"""What pages show of runs: read models, each with one query or a few, whatever the size of a run.

The values stand in files of their own beside `flowq.engine.rows`.
"""

from datetime import datetime
from typing import Protocol

from flowq.core.ids import RunId
from flowq.engine.picture_rows import RunPicture


class Pictures(Protocol):
    """What the pictures of runs are drawn from."""

    def picture(self, run_id: RunId, *, now: datetime) -> RunPicture | None:
        """A run with its steps, those of a map counted; None when there is no such run.

        Args:
            run_id: The run.
            now: Until when the parts of `RunPicture.span` go while the run goes on.
        """


class Overview(Pictures, Protocol):
    """Reads for pages; changes nothing."""
