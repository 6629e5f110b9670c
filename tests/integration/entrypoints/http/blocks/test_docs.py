"""docs/http-blocks.md is true: each `curl` line is sent, and its answer compared."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.tools.http_service import client, masked
from tests.tools.playing import Stage

PAGE = (Path(__file__).parents[5] / "docs" / "http-blocks.md").read_text(encoding="utf-8")


def examples() -> Iterator[tuple[str, str]]:
    """Yield the commands of the page with their answers."""
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def answer(http: Any, command: str, document: str, task_id: str) -> str:
    """Return what a `curl` line answers."""
    _, _, url, *options = shlex.split(command.replace("$TASK", task_id))
    path = url.removeprefix("localhost:8001")
    if not options:
        found: str = http.get(path).text
        return found
    body = document if options[1] == "@hello.json" else options[1]
    text: str = http.post(path, content=body.encode()).text
    return text


def test_examples_answer_what_the_page_says(played: Stage) -> None:
    document = re.search(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert document
    http, task_id, count = client(), "", 0
    for command, expected in examples():
        found = answer(http, command, document[1], task_id)
        assert masked(expected).strip() == masked(found).strip(), command
        started = re.search(r'"task_id":"([^"]+)"', found)
        task_id, count = started[1] if started else task_id, count + 1
    assert 6 == count
