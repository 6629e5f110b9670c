"""A shell for the commands of a page: bash, in which Python programs are forked and not started.

The programs first in its PATH are small: `flowq`, `celery` and `python` have the session's fork
server start a process (see `shim`), `curl` is a client written in Python, and `pip` does nothing,
since all is installed. So any line runs as it is, with pipes, variables and substitutions.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import Final

from flowq.adapters.embedded import EmbeddedValkey
from tests.tools.session import processes
from tests.tools.waiting import wait_until

_HERE: Final = Path(__file__).parent
#: Seconds that a command may take on a slow machine.
DEADLINE: Final = 240.0
#: Programs that come with Python packages.
_INSTALLED: Final = ("alembic", "celery", "flowq", "pytest", "uvicorn")
#: Variables of this process that a reader would not have.
_OURS: Final = ("FLOWQ_", "OPENAI_", "ANTHROPIC_", "PYTEST_", "COLUMNS", "VIRTUAL_ENV")

#: pytest warns of libraries that are loaded before it, as they are in a process that is forked.
_FORKED: Final = {"PYTEST_ADDOPTS": "-W ignore::pytest.PytestAssertRewriteWarning"}


@dataclass
class Job:
    """A command that was typed.

    Attributes:
        folder: Has what it prints, the ids of its Python processes, and what it says.
        status: Its exit code; None while it runs.
    """

    folder: Path
    status: int | None = None

    @property
    def out(self) -> str:
        """What it has printed."""
        return (self.folder / "out").read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """What it has printed to standard error."""
        return (self.folder / "err").read_text(encoding="utf-8", errors="replace")

    @property
    def has_ended(self) -> bool:
        """Whether a Python program of it has ended."""
        return (self.folder / "ended").exists()

    @property
    def is_ready(self) -> bool:
        """Whether a worker of it is ready."""
        return (self.folder / "ready").exists() or "ready." in self.err

    def pids(self) -> list[int]:
        """Return the Python processes that run."""
        return [int(entry.name) for entry in self.folder.iterdir() if entry.name.isdigit()]


class Shell:
    """A shell in a folder, and all that it has started."""

    def __init__(self, folder: Path, own: Path, variables: Mapping[str, str]) -> None:
        """Start it.

        Args:
            folder: Where its commands run.
            own: A folder for its own files.
            variables: Of its environment, beside those of a reader.
        """
        self.folder = folder
        self.jobs: list[Job] = []
        self._own = own
        programs = _programs(own / "bin")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_OURS)
        }
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        self.environment = {**environment, **_FORKED, "PATH": path, **variables}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", _HERE / "shell.sh"],
            bufsize=0,
            cwd=folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, line: str) -> Job:
        """Run a command to its end."""
        job = self._job()
        self._ask(line, job, "")
        job.status = int(self._answer(line, job))
        return job

    def variables(self) -> dict[str, str]:
        """Return the variables that a program would have now."""
        loop = "for _docs_name in $(compgen -e); do"
        job = self.run(loop + ' printf "$_docs_name=%s\\0" "${!_docs_name}"; done')
        return dict(one.split("=", 1) for one in job.out.split("\0") if one)

    def begin(self, line: str) -> Job:
        """Start a command that goes on."""
        job = self._job()
        self._ask(line, job, "&")
        self._answer(line, job)
        return job

    def close(self) -> None:
        """End all that was started, with what that has started."""
        for job in self.jobs:
            for pid in job.pids():
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        assert self._bash.stdin is not None
        self._bash.stdin.close()  # the shell ends what it has in the background, and itself
        with suppress(subprocess.TimeoutExpired):  # a command hangs
            self._bash.wait(timeout=10)
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()
        assert self._bash.stdout is not None
        self._bash.stdout.close()
        wait_until(lambda: not any(job.pids() for job in self.jobs), what="the programs have ended")
        for lock in self.folder.rglob("valkey.lock"):
            EmbeddedValkey(lock.parent).stop()

    def _job(self) -> Job:
        job = Job(self._own / f"{len(self.jobs):03}")
        job.folder.mkdir()
        self.jobs.append(job)
        return job

    def _ask(self, line: str, job: Job, how: str) -> None:
        assert self._bash.stdin is not None
        request = "".join(f"{part}\0" for part in (line, job.folder, how)).encode()
        while request:
            request = request[self._bash.stdin.write(request) or 0 :]

    def _answer(self, line: str, job: Job) -> str:
        answers = self._bash.stdout
        assert answers is not None
        answer, deadline = b"", time.monotonic() + DEADLINE
        while not answer.endswith(b"\0"):
            left = deadline - time.monotonic()
            assert select([answers], [], [], max(left, 0))[0], (
                f"not ended after {DEADLINE:.0f} s: {line}\n{job.out}{job.err}"
            )
            part = answers.read(100)
            assert part, f"the shell has ended in: {line}\n{job.out}{job.err}"
            answer += part
        return answer[:-1].decode()


@contextmanager
def shell(folder: Path, **variables: str) -> Iterator[Shell]:
    """Have a shell in a folder; end it, and all that it has started, at the end."""
    own = Path(tempfile.mkdtemp(prefix="flowq-docs-"))
    started = Shell(folder, own, variables)
    try:
        yield started
    finally:
        started.close()
        shutil.rmtree(own)


def _programs(folder: Path) -> Path:
    """Make a folder of programs that stand first in PATH."""
    folder.mkdir()
    python = shlex.quote(sys.executable)
    shim = f"exec {python} -ISE {shlex.quote(str(_HERE / 'shim.py'))} "
    shim += f"{shlex.quote(str(processes.address()))} {python}"
    run = {name: f"{shim} {shlex.quote(str(_HERE / 'installed.py'))} {name}" for name in _INSTALLED}
    run |= {"python": shim, "python3": shim, "pip": ": "}
    run["curl"] = f"{shim} {shlex.quote(str(_HERE / 'client.py'))}"
    for name, line in run.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\n{line} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return folder
