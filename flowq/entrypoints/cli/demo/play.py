"""`flowq demo`: runs a sample flow on one machine, with nothing installed but the package.

It starts what is missing, runs the sample flow on a real worker, shows it, and stops all that it
has started, also on Ctrl-C, on SIGTERM and after a failure. With `--keep` it leaves Flower open
after the run, until Ctrl-C. A demo that was killed leaves its worker and its server running. The
next demo stops that worker and uses the server as its own.
"""

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.markdown import Markdown
from rich.text import Text

import flowq
from flowq import bootstrap, client
from flowq.client import Run
from flowq.core.errors import FlowNotFound, InvalidInput
from flowq.core.states import RunState
from flowq.engine.model.rows import RunView
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.app import environment
from flowq.entrypoints.cli.app.loading import environment_with_path, load_flow
from flowq.entrypoints.cli.demo.processes import DemoFlower, DemoProcess, DemoWorker
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.display.live import follow
from flowq.entrypoints.cli.display.output import print_failed
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK

_SHOWN_LINES: Final = 34
_LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Sample:
    """The sample flow.

    Attributes:
        module: Its name for workers that import it.
        target: Its name on the command line.
        root: The folder that must be importable.
    """

    module: str
    target: str
    root: Path


def play(*, folder: str | None, keep: bool) -> int:
    """Run the sample flow and stop everything; with `keep`, leave Flower open until Ctrl-C."""
    sample = find_sample()
    home = environment.make_home()
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        state = stack.enter_context(_alone(home))
        worker, flower = DemoWorker(home), DemoFlower(home)
        _end_left(flower, "Flower")
        _end_left(worker, "worker")
        stack.enter_context(_valkey(state))
        environment.prepare_database()
        _did("database", environment.database_place())
        _check_workers(sample)
        with _running(worker, "worker", sample):
            code = _run(sample, folder, worker, keep=keep)
            if keep and code != INTERRUPTED:
                with _running(flower, "Flower", sample):
                    _stay(flower, worker)
            return code


def find_sample() -> Sample:
    """Return the sample: from the current folder, the repository, or the package.

    Raises:
        FlowNotFound: it was not installed.
    """
    package = Path(flowq.__file__).parent
    for root in (Path.cwd(), package.parent):
        file = root / "examples" / "codebase.py"
        if file.is_file():
            return Sample("examples.codebase", f"{environment.relative(file)}:codebase", root)
    if (package / "examples" / "codebase.py").is_file():
        return Sample("flowq.examples.codebase", "flowq.examples.codebase:codebase", package.parent)
    raise FlowNotFound(
        "the sample flow examples/codebase.py is not installed",
        hint="get flowq's sources and type: make demo",
    )


# --- what is started, and stopped -----------------------------------------------------------------


@contextmanager
def _answering(
    answer: Callable[[int, FrameType | None], object] | int, *numbers: int
) -> Iterator[None]:
    """Handle these signals with a function within the block."""
    before = {number: signal.signal(number, answer) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminable() -> AbstractContextManager[None]:
    """Make SIGTERM and SIGHUP end the demo as Ctrl-C does, in order."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    return _answering(end, signal.SIGTERM, signal.SIGHUP)


def _undisturbed() -> AbstractContextManager[None]:
    """Ignore signals while the worker and the server are stopped; that takes seconds at most."""
    return _answering(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _alone(home: Path) -> Iterator[Path]:
    """Lock this folder for one demo; yield the file that says what a demo owns.

    Raises:
        InvalidInput: another one runs.
    """
    with (home / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(
                f"another demo is running in {environment.relative(home)}",
                hint="wait for it, or use another folder: FLOWQ_HOME=/tmp/flowq flowq demo",
            ) from None
        yield home / "demo.json"


@contextmanager
def _valkey(state: Path) -> Iterator[None]:
    """Start Redis if necessary; stop it at the end if a demo, this or a killed one, started it."""
    how = environment.start_redis()
    own = bootstrap.embedded()
    if own is None:
        _did("Redis", f"{environment.redis_place()}")
        yield
        return
    pid = own.pid
    ours = how == "started" or (pid is not None and pid == _recorded(state))
    words = how if how == "started" else "taken over" if ours else "runs already and stays"
    _did("Valkey", f"{words}, pid {pid}, {environment.relative(own.socket)}")
    try:
        if ours:
            state.write_text(json.dumps({"valkey": pid}), encoding="ascii")
        yield
    finally:
        if ours:
            with _undisturbed():
                own.stop()
                state.unlink(missing_ok=True)


def _recorded(state: Path) -> int | None:
    try:
        pid: int = json.loads(state.read_text(encoding="ascii"))["valkey"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return pid


def _check_workers(sample: Sample) -> None:
    """Check that no other worker would take the demo's steps without knowing them.

    Raises:
        InvalidInput: there are such workers.
    """
    known = bootstrap.app().control.inspect(timeout=0.5).registered() or {}
    step = f"{sample.module}.measure"
    strangers = sorted(name for name, tasks in known.items() if step not in tasks)
    if strangers:
        raise InvalidInput(
            f"another worker is running here, {strangers[0]}, which has not registered the steps "
            "of the sample",
            hint="stop it, or use another folder for the demo: FLOWQ_HOME=/tmp/flowq flowq demo",
        )


def _end_left(process: DemoProcess, name: str) -> None:
    left = process.pid
    if left is not None:
        process.stop(gently=False)
        _did(name, f"of an earlier demo stopped, pid {left}")


@contextmanager
def _running(process: DemoWorker | DemoFlower, name: str, sample: Sample) -> Iterator[None]:
    """Provide a process, and stop it: gracefully after success, at once after an error."""
    variables = {**os.environ, "FLOWQ_HOME": str(environment.settings().home)}
    gently = False
    try:
        pid = process.start(sample.module, environment_with_path(variables, sample.root))
        _did(name, f"started, pid {pid}, log in {environment.relative(process.log)}")
        yield
        gently = True
    finally:
        with _undisturbed():
            process.stop(gently=gently)


def _did(name: str, text: str) -> None:
    looks.note(looks.mark("ok", looks.err()), f" {name:<9}", (text, "dim"))


# --- the run --------------------------------------------------------------------------------------


def _stay(flower: DemoFlower, worker: DemoWorker) -> None:
    """Wait for Ctrl-C while both processes run."""
    looks.note("")
    looks.note(("Flower is open until you press Ctrl-C", "bold"))
    looks.note("")
    looks.note(f"  {flower.url}")
    try:
        while True:
            flower.check()
            worker.check()
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        looks.note()
        looks.note("Stopping everything that the demo started.")


def _run(sample: Sample, folder: str | None, worker: DemoWorker, *, keep: bool) -> int:
    sys.path.insert(0, str(sample.root))
    flow = load_flow(f"{sample.module}:codebase").flow
    inputs: dict[str, Any] = {} if folder is None else {"folder": str(Path(folder).resolve())}
    run = client.submit(flow.type, inputs)
    _did("run", f"{run.id} of {run.flow_name}")
    looks.note("")
    try:
        view = follow(run, check=worker.check)
    except KeyboardInterrupt:
        looks.note()
        looks.note("Stopping everything that the demo started. The run waits in the database;")
        looks.note(f"it continues when a worker starts: {looks.program()} demo")
        return INTERRUPTED
    if view.status is not RunState.COMPLETED:
        print_failed(view)
        return FAILED
    _print_result(run)
    _print_next(sample, run, view, keep=keep)
    return OK


def _print_result(run: Run[Any]) -> None:
    """Print the head of the report."""
    report = run.result()
    lines = report.markdown.splitlines()
    head = _whole_sections(lines)
    console = looks.out(lines=True)
    looks.note("")
    if console.is_terminal:
        console.print(Markdown("\n".join(head)))
    else:
        console.print(Text("\n".join(head)), soft_wrap=True)
    rest = f"… {len(lines) - len(head)} more lines, and" if len(lines) > len(head) else "… and"
    table = formatting.size(len(report.definitions.encode()))
    count = formatting.count(report.definitions.count("\n"))
    looks.note("")
    looks.note((f"{rest} a table of {count} lines, {table}", "dim"))


def _whole_sections(lines: Sequence[str]) -> Sequence[str]:
    """Return the first whole sections of a Markdown text."""
    if len(lines) <= _SHOWN_LINES:
        return lines
    ends = [number for number in range(2, _SHOWN_LINES + 1) if lines[number].startswith("## ")]
    return lines[: ends[-1] - 1 if ends else _SHOWN_LINES]


def _print_next(sample: Sample, run: Run[Any], view: RunView, *, keep: bool) -> None:
    flowq_, file = looks.program(), sample.target.partition(":")[0]
    commands = {
        f"{flowq_} runs show {view.id}": "every step, its attempts, time and errors",
        f"{flowq_} runs result {run.id} --json > report.json": "all of the result",
        f"{flowq_} graph {sample.target}": "the steps of the flow",
        f"{flowq_} worker {file}": "a worker that keeps running, in one terminal",
        f"{flowq_} run {sample.target} -p folder=. --wait": "your own run, in another terminal",
    }
    if not keep:
        commands[f"{flowq_} flower {file}"] = "every run, on http://localhost:5555/flows"
    looks.note("")
    looks.note(("What to try next", "bold"))
    looks.note("")
    for command, purpose in commands.items():
        looks.note(f"  {command}")
        looks.note((f"      {purpose}", "dim"))
