"""The `curl` lines of pages about the HTTP service, sent, and their answers."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[3] / "docs"
_HERE = "localhost:8001"


def page(name: str) -> str:
    """Return the text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def examples(text: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a page with their answers; a command may go over several lines."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for command, answer in re.findall(
            r"^\$ (curl (?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE
        ):
            yield command.replace("\\\n", " "), answer


def block(text: str, language: str) -> str:
    """Return the first block of a page in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, language
    return found[1]


def send(
    http: Any, command: str, values: Mapping[str, str], files: Mapping[str, str] | None = None
) -> str:
    """Send a `curl` line through a client, and return what it prints.

    Args:
        http: The client.
        command: The line; after a `|` it may have `grep '^…'`.
        values: What stands for its variables.
        files: The contents of the files that it names.
    """
    for name, value in values.items():
        command = command.replace(f"${name}", value)
    curl, _, pipe = command.partition(" | ")
    words = iter(shlex.split(curl)[1:])
    headers: dict[str, str] = {}
    method, url, body = "GET", "", None
    for word in words:
        if word in {"-d", "--data-binary", "--json"}:
            method, body = "POST" if method == "GET" else method, next(words)
            headers |= {"Content-Type": "application/json"} if word == "--json" else {}
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word in {"-X", "--request"}:
            method = next(words)
        elif not word.startswith("-"):
            url = word.removeprefix(_HERE)
    if body is not None and body.startswith("@"):
        body = (files or {})[body[1:]]
    answer: str = http.request(method, url, headers=headers, content=body).text
    if not pipe:
        return answer
    grep, pattern = shlex.split(pipe)
    assert grep == "grep"
    return "\n".join(line for line in answer.splitlines() if re.search(pattern, line))
