"""docs/http-playbooks.md is true: each `curl` line is sent, and its answer compared."""

import re

from tests.tools.docs.curl import block, examples, page, send
from tests.tools.http_service import client, masked
from tests.tools.playing import Stage


def shown(text: str) -> str:
    """Return an answer without its ids, times and digests."""
    return re.sub(r'"sha256":"\w+"', '"sha256":"DIGEST"', masked(text)).strip()


def test_examples_answer_what_the_page_says(played: Stage) -> None:
    text = page("http-playbooks.md")
    files = {"orders.yaml": block(text, "yaml")}
    http, count = client(), 0
    for command, expected in examples(text):
        assert shown(expected) == shown(send(http, command, {}, files)), command
        count += 1
    assert count == 6
