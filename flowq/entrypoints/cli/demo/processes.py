"""The processes that belong to a demo: each has a session of its own and is always stopped.

A demo may be killed at any moment; its worker then keeps running. The next demo has to stop that
worker and nothing else. So the worker inherits a lock on `demo-worker.pid`. While the lock is held,
a process of that worker runs, and the process group in the file is that worker's: the system does
not reuse the number of an existing group. Flower is handled in the same way.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from flowq.core.errors import FlowqError
from flowq.entrypoints.cli.app.environment import relative

_GENTLE_SECONDS: Final = 10.0
_KILL_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02
_SHOWN_LINES: Final = 15
_ADDRESS: Final = "127.0.0.1"
_FLOWERS_PORT: Final = 5555


class DemoProcess:
    """A process of the demo in one folder.

    Args:
        home: flowq's own folder.
        name: Its name in messages and of its files.
        at_once: The signal that stops it without finishing anything.
    """

    def __init__(self, home: Path, name: str, *, at_once: signal.Signals = signal.SIGKILL) -> None:
        self.log = home / f"{name}.log"
        self._name = name
        self._at_once = at_once
        self._file = home / f"demo-{name}.pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        with self._try_lock() as lock:
            return None if lock is not None else self._recorded()

    def _start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        inherited: Sequence[int] = (),
    ) -> int:
        with self._try_lock() as lock:
            if lock is None:
                raise FlowqError(f"the {self._name} of another demo still runs", hint="try again")
            os.ftruncate(lock, 0)
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own program and module
                    [sys.executable, "-m", "celery", *arguments],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Only the demo gets Ctrl-C; it then stops the others in order.
                    start_new_session=True,
                    pass_fds=(lock, *inherited),
                )
            os.write(lock, str(self._process.pid).encode())
            return self._process.pid

    def check(self) -> None:
        """Check that it runs.

        Raises:
            FlowqError: it has ended; the message has the last lines of its log.
        """
        if self._process is None or self._process.poll() is None:
            return
        code = self._process.returncode
        raise FlowqError(
            f"the {self._name} exited with code {code}:\n\n{self._last_lines()}",
            hint=f"read {relative(self.log)}; then: flowq doctor",
        )

    def stop(self, *, gently: bool) -> None:
        """Stop it, or one that an earlier demo has left, if there is one.

        Args:
            gently: Let it finish its work, if that does not take long.
        """
        pid = self.pid
        if pid is None:
            return
        for number, seconds in (
            (signal.SIGTERM if gently else self._at_once, _GENTLE_SECONDS),
            (signal.SIGKILL, _KILL_SECONDS),
        ):
            self._signal(pid, number)
            if self._has_ended(seconds):
                return
        raise FlowqError(f"the {self._name} {pid} does not exit", hint=f"kill -9 -- -{pid}")

    def _signal(self, pid: int, number: signal.Signals) -> None:
        # The main process signals its children itself; only the last one goes to all.
        with suppress(ProcessLookupError):
            if number is signal.SIGKILL or self._is_gone(pid):
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, number)

    def _is_gone(self, pid: int) -> bool:
        """Return whether the main process has ended before its children."""
        try:
            return os.getpgid(pid) != pid
        except ProcessLookupError:
            return True

    def _has_ended(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None:
                self._process.poll()  # otherwise it remains a zombie
            with self._try_lock() as lock:
                if lock is not None:
                    return True
            time.sleep(_POLL_SECONDS)
        return False

    def _recorded(self) -> int | None:
        try:
            return int(self._file.read_text(encoding="ascii"))
        except ValueError:
            raise FlowqError(
                f"a {self._name} is running, but {relative(self._file)} does not say which process",
                hint=f"stop it by hand: fuser -k {relative(self._file)}",
            ) from None

    @contextmanager
    def _try_lock(self) -> Iterator[int | None]:
        """Yield the locked file, or None when such a process holds the lock."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor
        finally:
            os.close(descriptor)

    def _last_lines(self) -> str:
        with self.log.open(encoding="utf-8", errors="replace") as log:
            return "".join(deque(log, _SHOWN_LINES)).rstrip()


class DemoWorker(DemoProcess):
    """The worker of the demo in one folder.

    Args:
        home: flowq's own folder.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home, "worker", at_once=signal.SIGQUIT)

    def start(self, module: str, environment: Mapping[str, str]) -> int:
        """Start the worker of a module; returns its process id.

        Raises:
            FlowqError: there is one already.
        """
        options = ["--without-mingle", "--without-gossip", "--loglevel", "INFO"]
        options += ["--hostname", "flowq-demo@%h"]
        return self._start(["-A", module, "worker", *options], environment)


class DemoFlower(DemoProcess):
    """The Flower of the demo in one folder; only this machine can reach it.

    Args:
        home: flowq's own folder.

    Attributes:
        url: The Flows tab, once it was started.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home, "flower")
        self.url = ""

    def start(self, module: str, environment: Mapping[str, str]) -> int:
        """Start Flower for the app of a module, wait until it answers; returns its process id.

        Raises:
            FlowqError: there is one already, or it has ended.
        """
        # Flower inherits a socket that already listens: no other process can take its port
        # meanwhile, and the answers there are from this Flower.
        with _listener(_FLOWERS_PORT) as listener:
            port = listener.getsockname()[1]
            self.url = f"http://{_ADDRESS}:{port}/flows"
            options = [f"--fd={listener.fileno()}", "--url_prefix="]
            arguments = ["-A", module, "dashboard", *options]
            pid = self._start(arguments, environment, inherited=(listener.fileno(),))
        while not self._answers(port):
            self.check()
            time.sleep(_POLL_SECONDS)
        return pid

    def _answers(self, port: int) -> bool:
        connection = HTTPConnection(_ADDRESS, port, timeout=_GENTLE_SECONDS)
        try:
            connection.request("GET", "/healthcheck")
            return connection.getresponse().status == HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


def _listener(wanted: int) -> socket.socket:
    """Return a listening socket: at the preferred port, if that is free."""
    try:
        return socket.create_server((_ADDRESS, wanted))
    except OSError:
        return socket.create_server((_ADDRESS, 0))
