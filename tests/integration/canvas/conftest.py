"""The app of the tasks is the one that flowq is on, for each test of this folder."""

from collections.abc import Iterator

import pytest

from flowq import bootstrap
from tests.integration.canvas.shop import SEEN, app


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(bootstrap, "app", lambda: app)
    SEEN.clear()
    yield
    SEEN.clear()
