"""What a handle refuses before it reads anything."""

from uuid import UUID

import pytest

from flowq import Run, errors
from flowq.core.ids import RunId


@pytest.mark.parametrize("after", ["", "x", "1-1"])
def test_events_after_what_is_no_id_are_refused_when_they_are_asked_for(after: str) -> None:
    """A web server can still answer with a status: no event was read."""
    run: Run[str] = Run(RunId(UUID(int=7)), "digest")

    with pytest.raises(errors.InvalidInput, match="is not the id of an event"):
        run.events(after=after)
