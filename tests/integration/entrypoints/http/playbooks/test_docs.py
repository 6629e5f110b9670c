"""docs/http/playbooks.md is true: each `curl` line is sent, and its answer compared."""

import re
from typing import Any

from tests.tools.docs.curl import block, examples, page, send
from tests.tools.http_service import client, masked
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until


def shown(text: str) -> str:
    """Return an answer without its ids, times and digests."""
    return re.sub(r'"sha256":"\w+"', '"sha256":"DIGEST"', masked(text)).strip()


def has_ended(http: Any) -> bool:
    """Return whether the execution of the page is completed."""
    ended: bool = http.get("/api/executions/exec-123/status").json()["completed"]
    return ended


def test_examples_answer_what_the_page_says(played: Stage) -> None:
    text = page("http/playbooks.md")
    files = {"orders.yaml": block(text, "yaml")}
    http, count = client(), 0
    for command, expected in examples(text):
        if "exec-123/status" in command:
            wait_until(lambda: has_ended(http), what="the execution has ended")
        assert shown(expected) == shown(send(http, command, {}, files)), command
        count += 1
    assert count == 15
