"""The Celery worker that belongs to a demo: started in a session of its own, and ended for sure.

A demo may be killed at any moment, and its worker then lives on. Whoever comes next has to end it,
and must not end anybody else. So the worker inherits a lock on `demo-worker.pid`: while the lock is
held, some process of that worker lives, and then the process group written in the file is its own,
since a number is not given away again while it names a group.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flowq.core.errors import FlowqError
from flowq.entrypoints.cli.environment import relative

_GENTLE_SECONDS: Final = 10.0
_KILL_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02
_SHOWN_LINES: Final = 15


class DemoWorker:
    """The worker of the demo in one folder.

    Args:
        home: flowq's own folder.
    """

    def __init__(self, home: Path) -> None:
        self.log = home / "worker.log"
        self._file = home / "demo-worker.pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process of a living worker."""
        with self._try_lock() as lock:
            return None if lock is not None else self._recorded()

    def start(self, module: str, environment: Mapping[str, str]) -> int:
        """Start the worker of a module; returns its process id.

        Raises:
            FlowqError: there is one already.
        """
        options = ["--without-mingle", "--without-gossip", "--loglevel", "INFO"]
        options += ["--hostname", "flowq-demo@%h"]
        with self._try_lock() as lock:
            if lock is None:
                raise FlowqError("the worker of another demo still runs", hint="try again")
            os.ftruncate(lock, 0)
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own program and module
                    [sys.executable, "-m", "celery", "-A", module, "worker", *options],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C is for the demo, which then ends the worker in order.
                    start_new_session=True,
                    pass_fds=(lock,),
                )
            os.write(lock, str(self._process.pid).encode())
            return self._process.pid

    def check(self) -> None:
        """Do nothing while the worker lives.

        Raises:
            FlowqError: it has ended; shows the last lines of its log.
        """
        if self._process is None or self._process.poll() is None:
            return
        code = self._process.returncode
        raise FlowqError(
            f"the worker has ended with exit code {code}:\n\n{self._last_lines()}",
            hint=f"read {relative(self.log)}; then: flowq doctor",
        )

    def stop(self, *, gently: bool) -> None:
        """End the worker, or one that an earlier demo has left; nothing happens without one.

        Args:
            gently: Let it finish what it is doing, if that does not take long.
        """
        pid = self.pid
        if pid is None:
            return
        for number, seconds in (
            (signal.SIGTERM if gently else signal.SIGQUIT, _GENTLE_SECONDS),
            (signal.SIGKILL, _KILL_SECONDS),
        ):
            self._signal(pid, number)
            if self._has_ended(seconds):
                return
        raise FlowqError(f"the worker {pid} does not end", hint=f"kill -9 -- -{pid}")

    def _signal(self, pid: int, number: signal.Signals) -> None:
        # The main process passes on what its children need to know; only the last word is for all.
        with suppress(ProcessLookupError):
            if number is signal.SIGKILL or self._is_gone(pid):
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, number)

    def _is_gone(self, pid: int) -> bool:
        """Tell whether the main process has left its children behind."""
        try:
            return os.getpgid(pid) != pid
        except ProcessLookupError:
            return True

    def _has_ended(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is not None:
                self._process.poll()  # or it stays a zombie
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
                f"a worker lives, but {relative(self._file)} does not say which",
                hint=f"end it by hand: fuser -k {relative(self._file)}",
            ) from None

    @contextmanager
    def _try_lock(self) -> Iterator[int | None]:
        """Give the locked file, or None when a worker has it."""
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
