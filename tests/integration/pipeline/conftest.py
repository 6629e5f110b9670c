"""Pipelines whose runs are carried out by threads of the test's own process."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from flowq import bootstrap
from flowq.adapters.dispatch.threads import ThreadDispatcher
from flowq.adapters.records.database import SqlRecords
from flowq.engine.engine import Engine
from tests.tools.playing import Stage


@pytest.fixture
def engine(
    records: SqlRecords, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """The engine of this process, for what runs here and for what is sent to workers."""
    dispatcher = ThreadDispatcher(8)
    engine = replace(Stage.on(records).engine, dispatcher=dispatcher)
    dispatcher.start(engine)
    monkeypatch.setattr(bootstrap, "engine", lambda: engine)
    monkeypatch.setattr(bootstrap, "engine_here", lambda: (engine, dispatcher))
    # Caches and rate limits are in this Redis.
    monkeypatch.setenv("FLOWQ_REDIS_URL", redis_url)
    monkeypatch.setattr(bootstrap, "_process", bootstrap._ProcessState())
    bootstrap.settings.cache_clear()
    yield engine
    monkeypatch.undo()
    bootstrap.settings.cache_clear()
