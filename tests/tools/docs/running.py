"""Runs a page as its reader does: in an empty folder, from top to bottom.

Commands that do not end, such as workers and servers, go on until the end of the page; a worker is
waited for until it is ready, a server until its port answers. The page's ports are replaced by free
ones, and its run ids by those that its commands have printed.
"""

import ast
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any, Final

import yaml

from tests.tools import servers
from tests.tools.docs import interpreter, output
from tests.tools.docs.pages import Checked, Command, File, Python, Step, name_of, steps
from tests.tools.docs.shell import DEADLINE, Job, Shell, shell
from tests.tools.session.processes import Process
from tests.tools.waiting import wait_until

_PORT: Final = re.compile(
    r"(?P<before>(?:localhost|127\.0\.0\.1|0\.0\.0\.0):|--port[= ]|http\.server |runserver )"
    r"(?P<port>\d{2,5})\b"
)
#: The port of a server on its command line.
_OWN_PORT: Final = re.compile(r"(?:--port[= ]|http\.server |runserver (?:\S+:)?)(\d+)\b")
#: Servers, with the ports that they have if none is given, and how one is given.
_SERVERS: Final = {
    r"flowq( -A \S+| --app \S+)? api": (8001, " --port {}"),
    r"flowq( -A \S+| --app \S+)? flower": (5555, " --port={}"),
    r"flowq fake-llm": (8399, " --port {}"),
    r"celery\b.* (dashboard|flower)": (5555, " --port={}"),
    r"uvicorn": (8000, " --port {}"),
    r"python3? -m http\.server": (8000, " {}"),
    r"python3? manage\.py runserver": (8000, " {}"),
}
_WORKERS: Final = (r"flowq( -A \S+| --app \S+)? worker", r"(python3? -m )?celery\b.* worker")
#: Programs that go on too, and that nothing can be asked of.
_OTHERS: Final = (r"celery\b.* beat",)
_COMMENT: Final = re.compile(r"\s+#\s.*$", re.MULTILINE)
#: Variables before a command.
_VARIABLES: Final = r"(?:\w+=(?:'[^']*'|\"[^\"]*\"|\S)*\s+)*"


@dataclass
class _Reader:
    """The reader of one page: a folder, a shell, an interpreter, and what was seen so far."""

    page: Path
    folder: Path
    shell: Shell
    stack: ExitStack
    names: output.Names = field(default_factory=output.Names)
    ports: dict[str, str] = field(default_factory=dict)
    python: Any = None

    def do(self, step: Step) -> None:
        """Take a step."""
        if isinstance(step, File):
            self._save(step)
        elif isinstance(step, Command):
            self._type(step)
        elif isinstance(step, Python):
            self._run(step)

    # --- Files and texts ----------------------------------------------------------------------

    def _save(self, file: File) -> None:
        path = self.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._with_ports(file.text), encoding="utf-8")
        if path.suffix == ".py":
            compile(file.text, file.name, "exec")

    # --- Commands -----------------------------------------------------------------------------

    def _type(self, command: Command) -> None:
        line = self.names.put_in(self._with_ports(command.text))
        server = next((one for one in _SERVERS if _is(one, line)), None)
        is_worker = any(_is(one, line) for one in _WORKERS)
        goes_on = server or is_worker or any(_is(one, line) for one in _OTHERS)
        bare = _COMMENT.sub("", line).strip()
        if command.may_fail or "--help" in line or not (goes_on or _is_in_background(bare)):
            self._compare(command, self.shell.run(line))
            return
        line = bare.removesuffix("&").rstrip()
        port = None
        if server:
            default, option = _SERVERS[server]
            given = _OWN_PORT.search(line)
            port = given[1] if given else self._port(str(default))
            line += "" if given else option.format(port)
        self._begin(command, line, port, is_worker=is_worker)

    def _begin(self, command: Command, line: str, port: str | None, *, is_worker: bool) -> None:
        job = self.shell.begin(line)

        def goes_on() -> bool:
            assert not job.has_ended, f"it has ended:\n{job.out}{job.err}"
            return False

        if is_worker:
            wait_until(lambda: job.is_ready or goes_on(), what="the worker is ready")
        elif port:
            wait_until(lambda: _answers(int(port)) or goes_on(), what=f"port {port} answers")
        self._compare_beginning(command, job)

    def _compare(self, command: Command, job: Job) -> None:
        problem = None
        if job.status and not command.may_fail:
            problem = f"exit code {job.status}\n{job.out}{job.err}"
        elif command.expected is not None:
            expected = [self._with_ports(line) for line in command.expected]
            problem = output.difference(expected, job.out, job.err, self.names)
        assert problem is None, problem

    def _compare_beginning(self, command: Command, job: Job) -> None:
        """Wait until a command that goes on has printed what the page shows."""
        if command.expected is None:
            return
        expected = [self._with_ports(line) for line in command.expected]
        problem: list[str | None] = []

        def is_there() -> bool:
            problem.append(
                output.difference(expected, job.out, job.err, self.names, beginning=True)
            )
            return problem[-1] is None

        try:
            wait_until(is_there, what="it has printed what the page shows")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{problem[-1]}") from None

    # --- Python -------------------------------------------------------------------------------

    def _run(self, step: Python) -> None:
        code = self.names.put_in(self._with_ports(step.code))
        if self.python is None:
            self.python = self.stack.enter_context(_interpreter(self.shell, self.folder))
        request = {"code": code, "file": str(self.page), "line": step.line}
        problem = self.python.ask(request)
        assert problem is None, problem

    # --- Ports --------------------------------------------------------------------------------

    def _with_ports(self, text: str) -> str:
        return _PORT.sub(lambda found: found["before"] + self._port(found["port"]), text)

    def _port(self, shown: str) -> str:
        if shown in self.ports.values():  # it is a real one already
            return shown
        if shown not in self.ports:
            self.ports[shown] = str(servers.free_port())
        return self.ports[shown]


class _Interpreter:
    """The interpreter of a page; see `interpreter`."""

    def __init__(self, process: Process[str], printed: Path) -> None:
        self._process = process
        self._printed = printed

    def ask(self, request: dict[str, Any]) -> str | None:
        """Run a block; return the traceback if it fails."""
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(f"{json.dumps(request)}\n")
        requests.flush()
        assert select([answers], [], [], DEADLINE)[0], f"not ended after {DEADLINE:.0f} s"
        answer = answers.readline()
        assert answer, "the interpreter has ended"
        problem: str | None = json.loads(answer)
        return problem and f"{problem}{self._printed.read_text(encoding='utf-8')}"


@contextmanager
def _interpreter(shell: Shell, folder: Path) -> Iterator[_Interpreter]:
    """Start an interpreter with the variables that the shell has now."""
    variables = shell.variables()
    printed = Path(variables.pop("DOCS_JOB"), "printed")
    command: list[str | Path] = [sys.executable, interpreter.__file__, printed]
    with Process[str](
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        try:
            yield _Interpreter(process, printed)
        finally:
            process.kill()


def _is(program: str, line: str) -> bool:
    """Return whether a line starts a program, perhaps after variables."""
    return re.match(rf"{_VARIABLES}{program}(?![\w-])", line) is not None


def _is_in_background(line: str) -> bool:
    """Return whether a line without a comment ends with `&`."""
    return line.endswith("&") and not line.endswith("&&")


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def flaw(text: Checked) -> str | None:
    """Return why a text is not well-formed."""
    try:
        if text.language == "json":
            json.loads(text.text)
        elif text.language == "yaml":
            list(yaml.safe_load_all(text.text))
        elif text.language == "python":
            compile(text.text, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (ValueError, SyntaxError, yaml.YAMLError) as error:
        return str(error)
    if text.language != "sh":
        return None
    command = ["bash", "-n"]
    done = subprocess.run(command, input=text.text, capture_output=True, text=True, check=False)
    return done.stderr or None


def problem_of(page: Path, folder: Path, **variables: str) -> str | None:
    """Run a page in a folder; return the first step that does not do what the page says, and why.

    Args:
        page: The file of the page.
        folder: Where its files and commands are.
        variables: Of the environment, beside those of a reader.
    """
    with ExitStack() as stack:
        reader = _Reader(page, folder, stack.enter_context(shell(folder, **variables)), stack)
        for step in steps(page):
            try:
                reader.do(step)
            except Exception as error:  # noqa: BLE001 - whatever it is, the step has failed
                return _problem(page, step, error)
    return None


def _problem(page: Path, step: Step, error: Exception) -> str:
    what = step.text if isinstance(step, Command) else f"the {type(step).__name__} block"
    said = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    return f"{name_of(page)}:{step.line}: {what}\n{said}"
