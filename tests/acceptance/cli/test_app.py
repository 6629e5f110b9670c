"""Commands that let steps go on send them where the user's app sends them, or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from tests.acceptance.commands import FLOWQ, Shell
from tests.tools import servers
from tests.tools.waiting import wait_until

APP = """
import os

from celery import Celery

import flowq

app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BROKER"])
app.conf.task_default_queue = "shop-default"
app.conf.task_routes = {"parts.embed": {"queue": "gpu"}}
flowq.install(app)

import parts
"""

#: Pauses a run as its budget does.
SPEND = """
from uuid import UUID

from flowq import bootstrap
from flowq.core.ids import RunId
from flowq.core.states import StopKind
from flowq.engine.runs.pause import pause

pause(bootstrap.engine(), RunId(UUID("{run_id}")), "1 of 1 usd", StopKind.BUDGET)
"""
#: Steps and flows of an app that another module defines.
PARTS = """
import flowq
from flowq import flow, step


@step
def embed(n: int) -> int:
    return n + 1


@step
def join(n: int) -> int:
    return 2 * n


@step(queue="own")
def placed(n: int) -> int:
    return n


@flow
def index(n: int) -> int:
    return placed(join(embed(n)))


@flow
async def asking(n: int = 1) -> int:
    answer = await flowq.signal("approve", int)
    return answer + await asked(n)


@step
def asked(n: int) -> Any:
    return n


@flow
async def tidy() -> None:
    try:
        await flowq.signal("never")
    finally:
        await closed()


@step
async def closed() -> int:
    return 1
""".replace("import flowq", "from typing import Any\n\nimport flowq", 1)

NAMED = ("--app", "shop")


@pytest.fixture
def shell(tmp_path: Path, redis_url: str, sqlite_template: Path) -> Iterator[Shell]:
    """A folder with an app and its flows in two modules; the app's broker is named only there."""
    shell = Shell(
        tmp_path,
        {"SHOP_BROKER": redis_url, "FLOWQ_SWEEP_SECONDS": "0.5", "FLOWQ_RESEND_SECONDS": "600"},
    )
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "parts.py").write_text(PARTS)
    try:
        shell.home.mkdir()
        shutil.copy(sqlite_template, shell.home / "flowq.db")
        yield shell
    finally:
        shell.stop_server()


@pytest.fixture
def queues(redis_url: str) -> Iterator[Any]:
    """Gives how many messages are in each queue of the app's broker."""
    client: Any = redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://"))

    def lengths() -> dict[str, int]:
        names = {key.decode() for key in client.scan_iter(_type="list")}
        return {
            name: client.llen(name) for name in names - {"flowq:sweep"}
        }  # a request, no message

    with client:
        yield lengths


def enqueue(shell: Shell, what: str) -> str:
    """Start a run in a process that knows the app, and forget its messages."""
    return shell.python(f"import shop, parts\nprint(parts.{what}.id)").splitlines()[-1]


@contextmanager
def worker(shell: Shell) -> Iterator[None]:
    """Have the app's own worker on its own queues."""
    command = [*FLOWQ, *NAMED, "worker", "-Q", "shop-default,gpu,own", "--concurrency", "1"]
    log = shell.folder / f"worker-{uuid4().hex}.log"
    environment = shell.environment
    with servers.process(command, cwd=shell.folder, env=environment, log=log) as process:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "ready." in log.read_text()

        wait_until(is_ready, timeout=60, what="the worker is ready")
        yield


def settle(redis_url: str) -> None:
    """Lose all that was sent up to now."""
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        client.flushdb()


ways = pytest.mark.parametrize("named", [NAMED, ()], ids=["with the app", "without"])


@ways
def test_resumed_steps_go_to_the_queue_of_the_app(
    shell: Shell, queues: Any, redis_url: str, named: tuple[str, ...]
) -> None:
    run_id = enqueue(shell, "index.enqueue(n=1)")
    assert queues() == {"gpu": 1}
    shell.flowq(*named, "runs", "pause", run_id)
    settle(redis_url)

    done = shell.flowq(*named, "runs", "resume", run_id)

    assert done.code == 0
    assert queues() == ({"gpu": 1} if named else {})
    if not named:
        assert "flowq --app" in done.err
    assert not (shell.home / "valkey.sock").exists()


def test_app_of_the_environment_is_used_too(shell: Shell, queues: Any, redis_url: str) -> None:
    shell.cold = True  # what a process loads decides whose app it finds
    run_id = enqueue(shell, "index.enqueue(n=1)")
    shell.flowq("runs", "pause", run_id)
    settle(redis_url)

    assert shell.flowq("runs", "resume", run_id, FLOWQ_APP="shop:app").code == 0

    assert queues() == {"gpu": 1}


@ways
def test_runs_end_on_the_workers_of_the_app_within_a_pass_of_the_sweeper(
    shell: Shell, queues: Any, redis_url: str, named: tuple[str, ...]
) -> None:
    """What was lost is sent again after ten minutes here, so only what is sent at once ends."""
    paused = enqueue(shell, "index.enqueue(n=1)")
    spent = enqueue(shell, "index.enqueue(n=1, budget=parts.flowq.Budget(usd=1))")
    assert shell.flowq("runs", "pause", paused, "--reason", "ann").code == 0
    shell.python(SPEND.format(run_id=spent))
    settle(redis_url)
    with worker(shell):
        asked, tidied = (enqueue(shell, f"{one}.enqueue()") for one in ("asking", "tidy"))
        wait_until(
            lambda: waits(shell, asked) and waits(shell, tidied),
            timeout=60,
            what="the programs wait",
        )

        for command in (
            ["resume", paused],
            ["raise-budget", spent, "--usd", "2"],
            ["signal", asked, "approve", "41"],
            ["cancel", tidied, "--wait"],
        ):
            assert shell.flowq(*named, "runs", *command).code == 0
        ran = shell.flowq(*named, "run", "parts.py:index", "-p", "n=2", "--timeout", "60")

        assert (0, "6\n") == (ran.code, ran.out)
        for run_id, output in ((paused, 4), (spent, 4), (asked, 42)):
            assert shell.flowq("runs", "watch", run_id).code == 0
            assert f"{output}\n" == shell.flowq("runs", "result", run_id).out
        states = {step["key"]: step["status"] for step in show(shell, tidied)["steps"]}
        assert states["closed#2"] == "completed"
    assert "celery" not in queues()


def show(shell: Shell, run_id: str) -> Any:
    return shell.flowq("runs", "show", run_id, "--json").json


def waits(shell: Shell, run_id: str) -> bool:
    """Return whether a program waits for a signal."""
    return any(step["status"] == "waiting" for step in show(shell, run_id)["steps"])


@ways
def test_doctor_checks_the_broker_and_the_workers_of_the_app(
    shell: Shell, named: tuple[str, ...]
) -> None:
    with worker(shell):
        command = (*named, "doctor", "--json")
        done = shell.until("1 online", *command) if named else shell.flowq(*command)

    found = {check["name"]: check for check in done.json["checks"]}
    assert done.code == 0
    if named:
        assert "queue shop-default" in found["app"]["text"]
        assert found["workers"]["text"].startswith("1 online: celery@")
        assert "embedded" not in found["Redis"]["text"]
    else:
        assert "flowq --app" in found["app"]["hint"]
        assert "flowq --app" in found["workers"]["hint"]


def test_doctor_expects_no_answer_of_an_embedded_broker_that_nothing_has_started(
    shell: Shell,
) -> None:
    (shell.folder / "own.py").write_text("import flowq\n\napp = flowq.celery_app()\n")
    done = shell.flowq("-A", "own", "doctor", "--json")

    found = {check["name"]: check for check in done.json["checks"]}
    assert done.code == 0
    assert "not running yet" in found["app"]["text"]


def test_doctor_says_which_broker_does_not_answer(shell: Shell) -> None:
    done = shell.flowq(*NAMED, "doctor", "--json", SHOP_BROKER="redis://:secret@127.0.0.1:1/0")

    found = {check["name"]: check for check in done.json["checks"]}
    assert done.code == 3
    for name in ("app", "workers"):
        assert "127.0.0.1:1" in found[name]["text"]
        assert "broker_url" in found[name]["hint"]
    assert "secret" not in done.out


@pytest.mark.parametrize("target", ["shop", "./shop.py:app"])
def test_app_is_named_as_celery_names_it_or_by_its_file(
    shell: Shell, queues: Any, target: str
) -> None:
    assert shell.flowq("-A", target, "run", "parts.py:index", "-p", "n=1").code == 0

    assert queues() == {"gpu": 1}


def test_run_of_a_file_without_an_app_sends_nothing(shell: Shell, queues: Any) -> None:
    done = shell.flowq("run", "parts.py:index", "-p", "n=1")

    assert done.code == 0
    assert queues() == {}
    with redis.Redis(unix_socket_path=str(shell.home / "valkey.sock")) as embedded:
        assert set(embedded.scan_iter(_type="list")) <= {b"flowq:sweep"}, "a request, no message"


def test_python_without_the_app_sends_nothing_either(
    shell: Shell, queues: Any, redis_url: str
) -> None:
    """A process that only signals, say a web hook's, knows no routes."""
    run_id = enqueue(shell, "index.enqueue(n=1)")
    shell.flowq("runs", "pause", run_id)
    settle(redis_url)
    shell.environment["FLOWQ_REDIS_URL"] = redis_url

    said = shell.python(f"import flowq\nprint(flowq.Run.get('{run_id}').resume())")

    assert said.splitlines()[-1] == "running"
    assert queues() == {}
