"""The embedded Valkey: one server to a folder, whoever starts it and however that one ends."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kombu
import pytest
import redis

from flowq.adapters import embedded
from flowq.adapters.embedded import EmbeddedValkey
from flowq.core.errors import RedisUnavailable
from tests.tools.session.processes import Process
from tests.tools.waiting import wait_until

STARTER = """
import signal, sys
from pathlib import Path
from flowq.adapters.embedded import EmbeddedValkey

server = EmbeddedValkey(Path(sys.argv[1]))
print(server.ensure(), server.pid, flush=True)
signal.pause()
"""

Starter = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, whose server is ended with the test."""
    with tempfile.TemporaryDirectory(prefix="flowq-") as name:
        path = Path(name) / ".flowq"
        yield path
        EmbeddedValkey(path).stop()


@pytest.fixture
def starter() -> Iterator[Starter]:
    """Start processes that call `ensure()`, say what it gave, and wait to be killed."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", STARTER, str(folder)]
        process = Process[str](command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> tuple[str, int]:
    """Read what a starter says: how it got the server, and the server's pid."""
    assert process.stdout is not None
    how, pid = process.stdout.readline().split()
    return how, int(pid)


def client(server: EmbeddedValkey) -> redis.Redis:
    return redis.Redis.from_url(server.redis_url)


def test_starts_a_server_that_keeps_messages(folder: Path) -> None:
    """The server appends to a file, evicts nothing and has no port."""
    server = EmbeddedValkey(folder)

    assert "started" == server.ensure()

    with client(server) as valkey:
        info = valkey.info()
        assert server.pid == info["process_id"]
        assert 1 == info["aof_enabled"]
        assert "noeviction" == info["maxmemory_policy"]
        assert 0 == info["tcp_port"]


def test_only_the_owner_may_connect(folder: Path) -> None:
    """The socket has mode 700."""
    server = EmbeddedValkey(folder)
    server.ensure()

    assert 0o700 == stat.S_IMODE(server.socket.stat().st_mode)


def test_celery_connects_with_its_own_form_of_the_address(folder: Path) -> None:
    """`url` is what kombu takes."""
    server = EmbeddedValkey(folder)
    server.ensure()

    with kombu.Connection(server.url) as connection:
        assert connection.ensure_connection(max_retries=1).connected


def test_a_second_call_adopts_the_server(folder: Path) -> None:
    """Whoever comes second uses the server that is there."""
    first, second = EmbeddedValkey(folder), EmbeddedValkey(folder)
    first.ensure()

    assert "adopted" == second.ensure()
    assert first.pid == second.pid


def test_a_server_outlives_its_killed_starter_and_is_adopted(
    folder: Path, starter: Starter
) -> None:
    """`kill -9` of the process that started the server loses neither server nor data."""
    server = EmbeddedValkey(folder)
    process = starter(folder)
    how, pid = said(process)
    assert "started" == how
    with client(server) as valkey:
        valkey.set("key", "value")

    process.kill()
    process.wait()

    assert "adopted" == server.ensure()
    assert pid == server.pid
    with client(server) as valkey:
        assert b"value" == valkey.get("key")


def test_ctrl_c_does_not_reach_the_server(folder: Path, starter: Starter) -> None:
    """The server is in a session of its own, so the terminal's signals pass it by."""
    _, pid = said(starter(folder))

    assert os.getsid(0) != os.getsid(pid)


def test_of_two_starters_one_starts_and_one_adopts(folder: Path, starter: Starter) -> None:
    """Processes that begin at once end up with one server."""
    processes = [starter(folder) for _ in range(4)]

    answers = [said(process) for process in processes]

    assert ["adopted", "adopted", "adopted", "started"] == sorted(how for how, _ in answers)
    assert 1 == len({pid for _, pid in answers})


@pytest.mark.parametrize("owner", ["a dead process", "a stranger"])
def test_a_pid_file_without_a_server_is_ignored(folder: Path, owner: str) -> None:
    """A pid file left behind stops nothing, and its number's new owner is left alone."""
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    if owner == "a dead process":
        stranger.kill()
        stranger.wait()
    folder.mkdir()
    (folder / "valkey.pid").write_text(str(stranger.pid), encoding="ascii")
    server = EmbeddedValkey(folder)

    server.stop()

    assert server.pid is None
    assert "started" == server.ensure()
    assert stranger.pid != server.pid
    if owner == "a stranger":
        assert stranger.poll() is None
        stranger.kill()
        stranger.wait()


def test_data_survives_the_death_of_the_server(folder: Path) -> None:
    """A server that was killed is started again, with what it had."""
    server = EmbeddedValkey(folder)
    server.ensure()
    with client(server) as valkey:
        valkey.set("key", "value")
        valkey.execute_command("WAITAOF", 1, 0, 2000)
    pid = server.pid
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: server.pid is None, what="the server is dead")
    assert "started" == server.ensure()
    with client(server) as valkey:
        assert b"value" == valkey.get("key")


def test_stop_ends_a_server_that_another_process_started(folder: Path, starter: Starter) -> None:
    """`stop` returns when the server is gone; a second one does nothing."""
    server = EmbeddedValkey(folder)
    said(starter(folder))

    server.stop()
    server.stop()

    assert server.pid is None
    assert not (folder / "valkey.pid").exists()


def test_a_long_folder_gets_its_socket_elsewhere(folder: Path) -> None:
    """A socket's path is limited; every process finds the same short one."""
    deep = folder / ("long" * 20) / ("longer" * 20)
    server = EmbeddedValkey(deep)
    try:
        assert "started" == server.ensure()
        assert "adopted" == EmbeddedValkey(deep).ensure()
        assert len(os.fsencode(server.socket)) <= embedded.MAX_SOCKET_PATH
        assert 0o700 == stat.S_IMODE(server.socket.parent.stat().st_mode)
        assert (deep / "valkey" / "appendonlydir").is_dir()
    finally:
        server.stop()
        shutil.rmtree(server.socket.parent)


def test_a_short_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    """Nobody else may have prepared the place of the socket."""
    server = EmbeddedValkey(folder / ("long" * 30))
    server.socket.parent.mkdir()
    server.socket.parent.chmod(0o777)
    try:
        with pytest.raises(RedisUnavailable, match="belongs to another user"):
            server.ensure()
    finally:
        server.socket.parent.rmdir()


def test_a_folder_with_spaces_works(folder: Path) -> None:
    """Both forms of the address are quoted."""
    server = EmbeddedValkey(folder / "my data, 100%")
    try:
        server.ensure()
        with client(server) as valkey, kombu.Connection(server.url) as connection:
            assert valkey.ping()
            assert connection.ensure_connection(max_retries=1).connected
    finally:
        server.stop()


def test_without_a_program_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the extra and the setting."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(RedisUnavailable, match=r"flowq\[embedded\].*FLOWQ_REDIS_URL"):
        EmbeddedValkey(folder).ensure()


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    """What the program prints is in the error."""
    folder.mkdir()
    (folder / "valkey.log").mkdir()

    with pytest.raises(RedisUnavailable, match=r"valkey\.log"):
        EmbeddedValkey(folder).ensure()


_USER = """
import sys, time
from pathlib import Path
from flowq.adapters.embedded import EmbeddedValkey

server = EmbeddedValkey(Path(sys.argv[1]))
print(server.use(idle=0.2), server.pid, flush=True)
time.sleep(600)
"""


@contextmanager
def user(folder: Path, code: str = _USER) -> Iterator[subprocess.Popen[str]]:
    """Have a process that uses the server of a folder."""
    command = [sys.executable, "-c", code, str(folder)]
    process = Process[str](command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_server_ends_after_the_last_of_its_users(folder: Path, end: signal.Signals) -> None:
    """However they end; and what it had is there for the next one."""
    server = EmbeddedValkey(folder)
    with user(folder) as first, user(folder) as second:
        pid = server.pid
        with client(server) as valkey:
            valkey.set("key", "value")
        first.send_signal(end)
        first.wait()
        # Longer than it takes a server that nobody uses: each asks it a hundred times.
        for _ in range(100):
            assert pid == server.pid
        second.send_signal(end)
        second.wait()
        wait_until(lambda: server.pid is None, timeout=60, what="the server has ended")
    with user(folder):
        assert server.pid not in {None, pid}
        with client(server) as valkey:
            assert b"value" == valkey.get("key")
    wait_until(lambda: server.pid is None, timeout=60, what="the server has ended again")


def test_users_that_come_and_go_always_have_a_server(folder: Path) -> None:
    """Also when one comes as it is being ended."""
    for _ in range(5):
        with user(folder), client(EmbeddedValkey(folder)) as valkey:
            assert valkey.ping()
    wait_until(lambda: EmbeddedValkey(folder).pid is None, timeout=60, what="it has ended")


def test_who_joins_keeps_a_server_and_starts_none(folder: Path) -> None:
    """A process that only sends: it has as much of a server as the others leave to it."""
    server = EmbeddedValkey(folder)
    server.join()
    assert not folder.exists()
    with user(folder) as first:
        pid = server.pid
        joins = _USER.replace("server.use(idle=0.2)", "server.join()")
        with user(folder, joins):
            first.kill()
            first.wait()
            for _ in range(100):
                assert pid == server.pid
    wait_until(lambda: server.pid is None, timeout=60, what="the server has ended")
