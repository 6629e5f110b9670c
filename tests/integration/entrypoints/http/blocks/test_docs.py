"""docs/http/blocks.md is true: each `curl` line is sent, and its answer compared."""

import re

from tests.tools.docs.curl import block, examples, page, send
from tests.tools.http_service import client, masked
from tests.tools.playing import Stage


def test_examples_answer_what_the_page_says(played: Stage) -> None:
    text = page("http/blocks.md")
    files = {"hello.json": block(text, "json")}
    http, task_id, count = client(), "", 0
    for command, expected in examples(text):
        found = send(http, command, {"TASK": task_id}, files)
        assert masked(expected).strip() == masked(found).strip(), command
        started = re.search(r'"task_id":"([^"]+)"', found)
        task_id, count = started[1] if started else task_id, count + 1
    assert 6 == count
