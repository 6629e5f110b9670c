"""A process that has loaded what flowq's programs load, and forks into them.

To import Celery, SQLAlchemy and flowq takes more than a second of a core, and the suite starts some
hundred Python programs. So one process of the session imports the libraries once, has no thread,
and forks; each child becomes what its command names: `python -m`, `-c` or a file is run in the
child as the interpreter runs it, with the arguments, environment, folder and descriptors asked for.

A child is a cold process (fork and exec) when it would notice the difference: another interpreter,
options or variables that Python reads at its start, a pool that patches the standard library, or a
folder with modules named like those that are loaded.
"""

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

#: Libraries and flowq's own modules, no module of the tests. None may start a thread, open a file
#: or define a step.
PRELOADED: Final = (
    "celery.__main__",
    "celery.app.control",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "celery.fixups.django",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "celery.worker.worker",
    "kombu.transport.redis",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "fastapi",
    "flower.command",
    "obstore",
    "openai",
    "pydantic_ai.models.openai",
    "rich.console",
    "uvicorn.main",
    "uvicorn.protocols.http.auto",
    "flowq.adapters.records.queries.lists",
    "flowq.adapters.tracing.spans",
    "flowq.authoring.durable",
    "flowq.blocks.edges.settings",
    "flowq.blocks.plugins",
    "flowq.blocks.storage",
    "flowq.bootstrap",
    "flowq.canvas.outline",
    "flowq.canvas.preparing",
    "flowq.entrypoints.cli.main",
    "flowq.entrypoints.flower.serving",
    "flowq.entrypoints.http.auth",
    "flowq.entrypoints.worker",
    "flowq.entrypoints.worker_requests",
    "flowq.llm.structured",
    "flowq.pipeline.executing.running",
    "flowq.pipeline.middleware.caches",
    "flowq.playbooks.control.control",
    "flowq.tools.secrets",
)
#: Packages whose modules are imported when a command needs them.
WALKED: Final = ("flowq.entrypoints.cli",)
#: Variables that Python or the C library reads once, at the start of a process.
READ_AT_START: Final = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "TZ")
#: Pools that patch the standard library, which has to happen before anything is imported.
PATCHING: Final = ("eventlet", "gevent")
_LENGTH: Final = struct.Struct("!I")


@dataclass(frozen=True)
class Job:
    """A process that is asked for.

    Attributes:
        arguments: The command line, the program first.
        own_session: Whether it leads a session; if not, it leads a group.
        user: Its user and group, by number; it is nobody else's member.
        cold: Whether it starts from nothing, whatever it is.
        descriptors: Its standard input, output and error.
    """

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    own_session: bool
    user: int | None
    cold: bool
    descriptors: list[int] = field(default_factory=list)


def receive(connection: socket.socket) -> Job | None:
    """Read what one connection asks for; None when it has nothing to ask."""
    head, descriptors, _flags, _address = socket.recv_fds(connection, _LENGTH.size, 3)
    if len(head) < _LENGTH.size:
        return None
    with connection.makefile("rb") as stream:
        body = stream.read(_LENGTH.unpack(head)[0])
    return Job(**json.loads(body), descriptors=list(descriptors))


def send(connection: socket.socket, job: Job) -> None:
    """Ask for a process."""
    given = {name: value for name, value in vars(job).items() if name != "descriptors"}
    body = json.dumps(given).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(body))], job.descriptors)
    connection.sendall(body)


# --- Python programs ------------------------------------------------------------------------------


@dataclass(frozen=True)
class PythonProgram:
    """A command line of Python: its warnings filters, what is run, and `sys.argv`."""

    warnings: tuple[str, ...]
    kind: str  #: `-m`, `-c`, or nothing for a file.
    target: str
    arguments: tuple[str, ...]

    def first_path(self) -> str:
        """Return what stands first in `sys.path`; the process is in its folder already."""
        if self.kind == "-c":
            return ""
        return str(Path.cwd() if self.kind else Path(self.target).resolve().parent)

    def run(self) -> None:
        """Run it in the module `__main__`, and come back or raise as it does."""
        main = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = sys.modules["builtins"]
        sys.modules["__main__"] = main
        sys.argv = [self.kind or self.target, *self.arguments]
        if self.kind == "-m":
            runpy._run_module_as_main(self.target)  # type: ignore[attr-defined]
            return
        if self.kind == "-c":
            code = compile(self.target, "<string>", "exec")
        else:
            main.__file__ = str(Path(self.target).absolute())
            code = compile(Path(self.target).read_bytes(), main.__file__, "exec")
        exec(code, main.__dict__)


def python_program(arguments: list[str]) -> PythonProgram | None:
    """Read a command line; None when it is no Python program that a fork can become."""
    if arguments[0] != sys.executable:
        return None
    rest, filters = arguments[1:], []
    while len(rest) > 1 and rest[0] == "-W":
        filters.append(rest[1])
        rest = rest[2:]
    if len(rest) > 1 and rest[0] in {"-m", "-c"}:
        return PythonProgram(tuple(filters), rest[0], rest[1], tuple(rest[2:]))
    if rest and rest[0].endswith(".py"):
        return PythonProgram(tuple(filters), "", rest[0], tuple(rest[1:]))
    return None


class Loaded:
    """The modules of this process, and how it stood before they were loaded."""

    def __init__(self) -> None:
        self.path = sys.path[1:]  # the first is the folder of this file
        self.environment = at_start(os.environ)
        root = str(Path(__file__).parents[3])
        sys.path[:] = [root, *self.path]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for name in (*PRELOADED, *_inside(WALKED)):
                importlib.import_module(name)
        sys.path[:] = self.path
        assert 1 == len(sys._current_frames()), "a library has started a thread"
        self.names = {name for name in sys.modules if "." not in name} - {"__main__"}
        gc.collect()
        gc.freeze()  # pages that no child has to copy

    def program(self, job: Job) -> PythonProgram | None:
        """Return the program that a fork can become, or None when it would notice."""
        program = python_program(job.arguments)
        if program is None or job.cold or job.user is not None:
            return None
        if any(word in argument for argument in job.arguments for word in PATCHING):
            return None
        if at_start(job.environment) != self.environment:
            return None
        first = job.folder if program.kind else str(Path(job.folder, program.target).parent)
        if any(self._shadowed(folder) for folder in [first, *python_path(job.environment)]):
            return None
        return program

    def _shadowed(self, folder: str) -> bool:
        """Return whether a folder has a module that would be imported in a loaded one's place."""
        try:
            entries = {entry.name.removesuffix(".py"): entry for entry in os.scandir(folder)}
        except OSError:
            return False
        for name in {*self.names, "sitecustomize", "usercustomize"} & entries.keys():
            entry = entries[name]
            found = Path(entry.path, "__init__.py") if entry.is_dir() else Path(entry.path)
            file = getattr(sys.modules.get(name), "__file__", None)
            if found.exists() and not (file and found.samefile(file)):
                return True
        return False


def _inside(packages: tuple[str, ...]) -> Iterator[str]:
    """Yield the modules of packages, without those that are programs, or that define steps."""
    for package in packages:
        folders = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(folders, f"{package}."):
            if not module.name.endswith(("__main__", ".http_app")):
                yield module.name


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read at a start, but for the path of modules."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_START) and name != "PYTHONPATH"
    }


def python_path(environment: Mapping[str, str]) -> list[str]:
    """Return the folders of PYTHONPATH."""
    return [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]


# --- The server -----------------------------------------------------------------------------------


class Server:
    """Forks for whoever connects, and tells them how their processes have ended."""

    def __init__(self, listener: socket.socket, lifeline: int) -> None:
        self.listener = listener
        self.lifeline = lifeline
        self.loaded: Loaded | None = None
        self.children: dict[int, socket.socket] = {}
        self.ended: set[int] = set()
        self.signals, wakeup = socket.socketpair()
        self._wakeup = wakeup
        for one in (self.signals, wakeup):
            one.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno())
        self.selector = selectors.DefaultSelector()
        for source in (listener, lifeline, self.signals):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> tuple[Job, PythonProgram | None, Loaded] | None:
        """Serve until the session is gone; in a child, return at once what it has to become."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == self.lifeline:
                    if not os.read(self.lifeline, 1):
                        self._end_all()
                        return None
                elif key.fileobj is self.signals:
                    self._drain()
                elif key.fileobj is self.listener:
                    if become := self._accept():
                        return become
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj, key.data)
            self._tell()

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while self.signals.recv(4096):
                pass

    def _accept(self) -> tuple[Job, PythonProgram | None, Loaded] | None:
        connection, _ = self.listener.accept()
        job = receive(connection)
        if job is None:
            connection.close()
            return None
        loaded = self.loaded = self.loaded or Loaded()
        program = loaded.program(job)
        if pid := os.fork():
            for descriptor in job.descriptors:
                os.close(descriptor)
            self.children[pid] = connection
            self.selector.register(connection, selectors.EVENT_READ, pid)
            self._say(connection, {"pid": pid})
            return None
        connection.close()
        self._leave()
        return job, program, loaded

    def _hear(self, connection: socket.socket, pid: int) -> None:
        """The other side has taken note of an end, or it is gone."""
        heard = b""
        with suppress(OSError):
            heard = connection.recv(1)
        if not heard and pid not in self.ended:
            _kill(pid)
        os.waitpid(pid, 0)
        self.ended.discard(pid)
        del self.children[pid]
        self.selector.unregister(connection)
        connection.close()

    def _tell(self) -> None:
        """Tell of each end. The process stays a zombie until the other side has taken note."""
        for pid in self.children.keys() - self.ended:
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                self.ended.add(pid)
                exited = found.si_code == os.CLD_EXITED
                status = found.si_status if exited else -found.si_status
                self._say(self.children[pid], {"status": status})

    def _say(self, connection: socket.socket, words: dict[str, Any]) -> None:
        with suppress(OSError):  # whoever is gone is noticed by `_hear`
            connection.sendall(json.dumps(words).encode() + b"\n")

    def _leave(self) -> None:
        """Let a child go of all that is the server's own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        for one in (self.listener, self.signals, self._wakeup, *self.children.values()):
            one.close()
        self.children.clear()

    def _end_all(self) -> None:
        for pid in self.children.keys() - self.ended:
            _kill(pid)
            os.waitpid(pid, 0)


def _kill(pid: int) -> None:
    """Kill a child and its group, which it leads unless it has just been forked."""
    for kill in (os.kill, os.killpg):
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


# --- What a child becomes -------------------------------------------------------------------------


def become(job: Job, program: PythonProgram | None, loaded: Loaded) -> None:
    """Go on as the process that is asked for, as `subprocess` and the interpreter begin it."""
    if job.own_session:
        os.setsid()
    else:
        os.setpgid(0, 0)
    for place, descriptor in enumerate(job.descriptors):
        os.dup2(descriptor, place)
    for descriptor in job.descriptors:
        os.close(descriptor)
    if job.user is not None:
        os.setgroups([])
        os.setgid(job.user)
        os.setuid(job.user)
    os.chdir(job.folder)
    if program is None:
        _execute(job)
    else:
        _run(job, program, loaded)


def _run(job: Job, program: PythonProgram, loaded: Loaded) -> None:
    """Become a Python program."""
    os.environ.clear()
    os.environ.update(job.environment)
    sys.orig_argv = job.arguments
    sys.path[:] = [program.first_path(), *python_path(job.environment), *loaded.path]
    importlib.invalidate_caches()
    tempfile.tempdir = None
    sys.stdin, sys.stdout, sys.stderr = (_standard_stream(number) for number in range(3))
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    if program.warnings:
        sys.warnoptions.extend(program.warnings)
        warnings._processoptions(program.warnings)  # type: ignore[attr-defined]
    forked = os.getpid()
    try:
        program.run()
        code: Any = 0
    except SystemExit as ended:
        code = ended.code or 0
    if isinstance(code, int) and os.getpid() == forked:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End as the interpreter does, and free nothing: to do so takes a tenth of a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # the interpreter says what is wrong with a stream
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


def _execute(job: Job) -> None:
    """Become another program."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(job.arguments[0], job.arguments, job.environment)
    except OSError as error:
        os.write(2, f"{job.arguments[0]}: {error}\n".encode())
        os._exit(127)


def _standard_stream(number: int) -> Any:
    """Open a standard stream as the interpreter does at its start."""
    before: Any = (sys.stdin, sys.stdout, sys.stderr)[number]
    writes, unbuffered = number > 0, before.write_through
    buffering = 0 if writes and unbuffered else -1
    binary: Any = open(number, f"{before.mode}b", buffering, closefd=False)  # noqa: SIM115
    getattr(binary, "raw", binary).name = before.name
    stream: Any = io.TextIOWrapper(
        binary,
        encoding=before.encoding,
        errors=before.errors,
        newline="\n" if writes else None,
        line_buffering=not unbuffered and (number == 2 or os.isatty(number)),
        write_through=unbuffered,
    )
    stream.mode = before.mode
    return stream


def main() -> None:
    """Serve on a socket in a folder, until standard input ends; then remove the folder."""
    folder = Path(sys.argv[1])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(128)
    given = Server(listener, 0).serve()
    if given is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        become(*given)


if __name__ == "__main__":
    main()
