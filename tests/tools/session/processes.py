"""The processes that tests start, most of them forked from one that has the libraries loaded.

`Process` is `subprocess.Popen` in every respect but where its process comes from: the session's
fork server (see `forkserver`), which kills what is left when the session is gone. `cold=True` has a
Python start from nothing, for tests of how a process starts.
"""

import inspect
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, AnyStr

from tests.tools.session import forkserver


class ForkServer:
    """The fork server of this session, seen from the process that owns the session."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flowq-fork-"))
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, forkserver.__file__, str(self.folder)],
                stdin=subprocess.PIPE,  # it ends when this does, however this process has ended
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                start_new_session=True,
            )

    def leave(self) -> None:
        """Leave it to the process that this one was forked from: it ends with that one."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.returncode = 0  # this is not its parent, so do not ask how it has ended

    def close(self) -> None:
        """End it, with all that it has started and that is still there."""
        self._process.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)  # it has done so, if all was well


def use(folder: Path) -> None:
    """Have the processes of this process forked by the server that has this folder."""
    _USED.append(folder)


_USED: list[Path] = []


def address() -> Path:
    """Return the socket of the fork server, which accepts from now on."""
    _connect().close()
    return _USED[-1] / "socket"


def _connect() -> socket.socket:
    """Connect to the fork server, which may just be starting."""
    assert _USED, "there is no fork server: see tests/conftest.py"
    deadline = time.monotonic() + 180
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(_USED[-1] / "socket"))
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return connection


#: The pipes of a process, as `subprocess` calls them.
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


_Popen: Any = subprocess.Popen


class Process(subprocess.Popen[AnyStr]):
    """A process that the fork server has started; one of a group that is killed with its client."""

    def __init__(self, command: Sequence[str | Path], *, cold: bool = False, **given: Any) -> None:
        self._cold = cold
        self._status = -1
        self._lock = threading.Lock()
        super().__init__([str(part) for part in command], **given)

    def __del__(self, *given: Any) -> None:
        super().__del__(*given)
        if self._status >= 0:
            os.close(self._status)
            self._status = -1

    def _execute_child(self, *given: Any) -> None:
        of = inspect.signature(_Popen._execute_child).bind(self, *given).arguments
        assert {None, False, ()} >= {of[name] for name in ("shell", "preexec_fn", "pass_fds")}
        ends = of["p2cread"], of["c2pwrite"], of["errwrite"]
        job = forkserver.Job(
            arguments=of["args"],
            environment={**(os.environ if of["env"] is None else of["env"])},
            folder=str(Path(of["cwd"] or ".").absolute()),
            own_session=of["start_new_session"],
            user=of["uid"],
            cold=self._cold,
            descriptors=[place if end == -1 else end for place, end in enumerate(ends)],
        )
        try:
            with _connect() as connection:
                forkserver.send(connection, job)
                with connection.makefile("rb", buffering=0) as answers:
                    answer = answers.readline()
                assert answer, f"the fork server has failed:\n{(_USED[-1] / 'log').read_text()}"
                self.pid = json.loads(answer)["pid"]
                self._status = connection.detach()
        finally:
            self._child_created = True
            _Popen._close_pipe_fds(self, *(of[name] for name in _PIPES))

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        return self._code_within(0)

    def _wait(self, timeout: float | None) -> int:
        code = self._code_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _code_within(self, timeout: float | None) -> int | None:
        """Return how the process has ended; None when it has not, within so many seconds."""
        if self.returncode is not None:
            return self.returncode
        looker = select.poll()
        looker.register(self._status, select.POLLIN)
        if looker.poll(None if timeout is None else 1000 * timeout):
            with self._lock:
                if self.returncode is None:
                    answer = os.read(self._status, 4096)
                    assert answer, "the fork server is gone"
                    os.write(self._status, b".")
                    os.read(self._status, 1)  # it ends when the process is no zombie any more
                    self.returncode = json.loads(answer)["status"]
        return self.returncode


def run(
    command: Sequence[str | Path], *, given: str = "", timeout: float = 300, **others: Any
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end, within so many seconds; `given` is what it reads."""
    pipe = subprocess.PIPE
    with Process[str](
        command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", **others
    ) as process:
        try:
            out, err = process.communicate(given, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def is_gone(pid: int) -> bool:
    """Return whether there is no such process; a zombie is one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
