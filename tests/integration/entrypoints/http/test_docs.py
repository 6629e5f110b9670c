"""docs/http/index.md is true: each `curl` line is sent, and its answer compared."""

import re
import sys
from types import ModuleType

import pytest

from tests.tools.docs.curl import block, examples, page, send
from tests.tools.http_service import client, masked
from tests.tools.playing import Stage


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flows of the page."""
    module = ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", module)
    exec(block(page("http/index.md"), "python"), module.__dict__)


@pytest.mark.usefixtures("shop")
def test_examples_answer_what_the_page_says(played: Stage) -> None:
    http, run_id, count = client(), "", 0
    for command, expected in examples(page("http/index.md")):
        found = send(http, command, {"RUN": run_id})
        if "--json" in command and "cancel" not in command:  # it may have ended by now
            found = found.replace('"status":"completed"', '"status":"running"')
        assert masked(expected).strip() == masked(found).strip(), command
        started = re.match(r'{"id":"([^"]+)"', found)
        run_id, count = started[1] if started else run_id, count + 1
    assert 23 == count
