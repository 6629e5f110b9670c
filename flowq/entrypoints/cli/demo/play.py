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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from flowq import bootstrap
from flowq.adapters.records.migrations import own_file
from flowq.core.errors import InvalidInput
from flowq.core.states import RunState
from flowq.entrypoints.cli.app import environment
from flowq.entrypoints.cli.app.loading import environment_with_path
from flowq.entrypoints.cli.demo.processes import DemoFlower, DemoProcess, DemoWorker
from flowq.entrypoints.cli.demo.samples import (
    PLAYBOOK,
    Sample,
    SampleFlow,
    SamplePlaybook,
    Shown,
    find_sample,
    print_next,
)
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.display.live import follow
from flowq.entrypoints.cli.display.output import print_failed
from flowq.entrypoints.cli.group import FAILED, INTERRUPTED, OK

_SHOWN_LINES: Final = 34
_LOOK_SECONDS: Final = 0.2


def play(*, what: str | None, keep: bool) -> int:
    """Run a sample and stop everything; with `keep`, leave Flower open until Ctrl-C.

    Args:
        what: The folder that the sample flow reads, or `playbook` for the sample playbook.
        keep: Whether to leave Flower open.
    """
    sample = find_sample()
    shown = SamplePlaybook(sample) if what == PLAYBOOK else SampleFlow(sample, what)
    home = environment.settings().home
    own_file.make_home(home)
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
            code = _run(sample, shown, worker, keep=keep)
            if keep and code != INTERRUPTED:
                with _running(flower, "Flower", sample):
                    _stay(flower, worker)
            return code


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


def _run(sample: Sample, shown: Shown, worker: DemoWorker, *, keep: bool) -> int:
    sys.path.insert(0, str(sample.root))
    run = shown.start()
    _did("run", f"{run.id} of {run.newest.view().flow_name}")
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
    shown.print_result(run)
    print_next(shown.next_commands(run, keep=keep))
    return OK
