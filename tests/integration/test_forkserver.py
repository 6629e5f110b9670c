"""Processes that the fork server makes are what `subprocess` makes of them, but for their start."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.tools.session.processes import Process, is_gone, run
from tests.tools.waiting import wait_until

ROOT = Path(__file__).parents[2]
#: Prints what a process can tell of itself.
SELF = """
import json, os, signal, sys, threading, time, warnings
import __main__

shown = {
    "arguments": [sys.argv, sys.orig_argv, sys.executable, sys.warnoptions, repr(sys.flags)],
    "path": sys.path,
    "place": [os.getcwd(), dict(os.environ), os.umask(0o22), time.tzname],
    "module": [__name__, __main__.__dict__ is globals(), __package__, __spec__ and __spec__.name],
    "file": globals().get("__file__"),
    "warnings": [repr(each) for each in warnings.filters],
    "signals": {int(each): repr(signal.getsignal(each)) for each in signal.valid_signals()},
    "blocked": [int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "threads": [[each.name, each.daemon] for each in threading.enumerate()],
    "streams": [
        [each.encoding, each.errors, each.line_buffering, each.name, each.mode, each.isatty()]
        for each in (sys.stdin, sys.stdout, sys.stderr)
    ],
    "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
    "open": sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else [],
    "read": sys.stdin.read(),
}
print(json.dumps(shown, sort_keys=True))
sys.exit(len(sys.argv))
"""
#: Whether this process was forked with the libraries loaded.
WARM = "import sys; print('celery' in sys.modules)"


def both(command: list[str], **given: Any) -> tuple[Any, Any]:
    """Return what a program tells of itself when it is started either way."""
    ends = []
    for start in (subprocess.Popen, Process):
        with start(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **given,
        ) as process:
            out, err = process.communicate("given", timeout=60)
        assert err == ""
        ends.append((process.returncode, json.loads(out)))
    return ends[0], ends[1]


@pytest.mark.parametrize("options", [[], ["-W", "error"]], ids=["plain", "-W error"])
@pytest.mark.parametrize("kind", ["-m", "-c", "file"])
def test_program_sees_what_it_would_see(tmp_path: Path, kind: str, options: list[str]) -> None:
    """As a module, as code or as a file; in another folder, with another environment."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "module.py").write_text(SELF)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}/nowhere", "ONLY": "ünï"}
    command = {"-m": ["-m", "package.module"], "-c": ["-c", SELF], "file": ["package/module.py"]}[
        kind
    ]

    cold, warm = both([*options, *command, "a", "b"], cwd=tmp_path, env=environment)

    assert cold == warm


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit('wrong')",
        "raise ValueError('wrong')",
        "import os; os.kill(os.getpid(), 2)",
        "import os; os.kill(os.getpid(), 9)",
        "import os; os._exit(7)",
        "import atexit, sys; atexit.register(print, 'last'); print('first', end='; ')",
        "import threading, time; threading.Thread(target=lambda: print('late')).start()",
        "import sys; print(sys.stdin.read(), file=sys.stderr)",
    ],
)
def test_process_ends_as_it_would_end(code: str) -> None:
    cold = subprocess.run(
        [sys.executable, "-c", code], input="", capture_output=True, text=True, check=False
    )
    warm = run([sys.executable, "-c", code])

    assert (cold.returncode, cold.stdout) == (warm.returncode, warm.stdout)
    assert cold.stderr.splitlines()[-1:] == warm.stderr.splitlines()[-1:]


@pytest.mark.parametrize(
    "options, variables, warm",
    [
        ([], {}, True),
        (["-W", "error"], {}, True),
        ([], {"FLOWQ_HOME": "/nowhere"}, True),
        (["-O"], {}, False),
        (["-X", "dev"], {}, False),
        ([], {"PYTHONHASHSEED": "1"}, False),
        ([], {"TZ": "Asia/Tokyo"}, False),
        ([], {"LC_ALL": "C"}, False),
    ],
)
def test_process_that_would_notice_is_cold(
    options: list[str], variables: dict[str, str], *, warm: bool
) -> None:
    done = run([sys.executable, *options, "-c", WARM], env={**os.environ, **variables})
    assert f"{warm}\n" == done.stdout


@pytest.mark.parametrize("name", ["celery.py", "sitecustomize.py", "redis/__init__.py"])
def test_folder_with_modules_of_the_same_name_makes_it_cold(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert "False\n" == run([sys.executable, "-c", WARM], cwd=tmp_path).stdout
    path = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert "False\n" == run([sys.executable, "-c", WARM], env=path).stdout


def test_what_differs_in_each_process_differs() -> None:
    """Ids and random numbers are those of a process of its own, and nothing is defined yet."""
    code = (
        "import random, uuid, uuid_utils, secrets; from celery import _state;"
        "from flowq.engine.registry.registry import registry; import os;"
        "print(random.random(), uuid.uuid4(), uuid_utils.uuid7(), secrets.token_hex());"
        "assert _state.default_app is None and not registry.flows and not registry.steps"
    )
    first, second = (run([sys.executable, "-W", "error", "-c", code]) for _ in range(2))
    assert (0, "") == (first.returncode, first.stderr)
    assert set() == set(first.stdout.split()) & set(second.stdout.split())


def test_signals_reach_a_process_and_its_group(tmp_path: Path) -> None:
    """It is a zombie until its end was looked at, so that its number is nobody else's."""
    code = "import os, time; os.fork(); os.write(1, b'%d%c' % (os.getpid(), 10)); time.sleep(600)"
    command = [sys.executable, "-c", code]
    with Process[str](command, stdout=subprocess.PIPE, text=True, start_new_session=True) as both:
        assert both.stdout is not None
        pids = {int(both.stdout.readline()) for _ in range(2)}
        assert both.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            both.wait(0.01)

        os.killpg(both.pid, signal.SIGTERM)

        assert -signal.SIGTERM == both.wait(60)
        assert both.pid in pids
        for pid in pids:
            wait_until(partial(is_gone, pid), what="the group has ended")


#: Starts two processes by a fork server of its own, says their numbers, and waits.
OWNER = """
import os, sys, time
from tests.tools.session import processes

server = processes.ForkServer()
processes.use(server.folder)
code = "import os, time; os.fork(); os.write(1, b'%d%c' % (os.getpid(), 10)); time.sleep(600)"
started = [
    processes.Process([sys.executable, "-c", code], cold=cold, start_new_session=cold)
    for cold in (False, True)
]
os.write(1, f'{server.folder}\\n'.encode())
time.sleep(600)
"""


def test_nothing_is_left_of_a_session_that_was_killed() -> None:
    """Neither a process, with its group, nor the folder of the server."""
    command = [sys.executable, "-c", OWNER]
    owner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    try:
        ends = {owner.stdout.readline().strip() for _ in range(5)}
    finally:
        owner.kill()
        owner.communicate(timeout=60)

    pids = {int(line) for line in ends if line.isdigit()}
    (folder,) = (Path(line) for line in ends if not line.isdigit())
    assert 4 == len(pids)
    for pid in pids:
        wait_until(partial(is_gone, pid), timeout=60, what="the process has ended")
    wait_until(lambda: not folder.exists(), timeout=60, what="the folder is removed")
