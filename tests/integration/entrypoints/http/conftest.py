"""The service on an engine that runs steps in this process."""

from collections.abc import Iterator

import pytest

from flowq import bootstrap
from flowq.adapters.records.database import SqlRecords
from tests.tools.http_service import working
from tests.tools.playing import Stage


@pytest.fixture
def played(records: SqlRecords, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The service uses this stage's engine; a thread does all that there is to do."""
    stage = Stage.on(records)
    monkeypatch.setattr(bootstrap, "engine", lambda: stage.engine)
    with working(stage):
        yield stage
