"""Several processes that run the tests, forked from one that has collected them.

To import the tests and to make their items takes ten seconds of a core, so it is done once. The
process that has collected them has no other thread, and forks; it hands the groups of tests out,
one by one, to whichever process is free. What a process reports is reported here as if the tests
ran here, so everything that looks at reports, as `-x` and `--durations` do, works as without.

What the tests of a session share, such as a server, each process makes for itself; see `session`
for what the processes share.
"""

import atexit
import os
import random
import signal
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe, connection
from typing import Any, Final, NoReturn, cast

import pytest

#: How the items of a session are dealt out: the places of those that stay together, in order.
Groups = Sequence[Sequence[int]]
#: A message: what it is, and what it says.
_Message = tuple[str, Any]
#: What a process may report as it is; a report of a test is made into plain data first.
_REPORTED: Final = ("pytest_runtest_logstart", "pytest_runtest_logfinish")


@dataclass(eq=False)
class _Child:
    """A process that runs tests, seen from the one that hands them out."""

    name: str
    pid: int
    pipe: Any
    waiting: deque[int] = field(default_factory=deque)  #: What it was given and has not begun.
    running: str | None = None  #: The test that it runs.


class Forking:
    """The plugin of the process that collects the tests and hands them out.

    Args:
        number: How many processes run the tests.
        grouped: Returns which of the tests stay together.
        begin: Called in each process when it begins.
        forked: Called here when all of them have begun; threads may be started from then on.
    """

    def __init__(
        self,
        number: int,
        grouped: Callable[[list[pytest.Item]], Groups],
        begin: Callable[[], None],
        forked: Callable[[], None],
    ) -> None:
        self._number = number
        self._grouped = grouped
        self._begin = begin
        self._forked = forked

    def pytest_report_header(self) -> str:
        """Say how many processes run the tests."""
        return f"processes: {self._number}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run the tests; pytest itself says what is wrong when there are none to run."""
        if session.testsfailed or session.config.option.collectonly or not session.items:
            return None
        groups = deque(deque(group) for group in self._grouped(session.items))
        if (terminal := session.config.pluginmanager.get_plugin("terminalreporter")) is not None:
            terminal.showfspath = False  # tests of several files end in turn
        children: list[_Child] = []
        try:
            for number in range(min(self._number, len(groups))):
                children.append(self._fork(session, f"p{number}", children))
            self._forked()
            _Dealer(session, groups, children).run()
        finally:
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)  # it has ended, unless this was interrupted
                os.waitpid(child.pid, 0)
        return True

    def _fork(self, session: pytest.Session, name: str, others: list[_Child]) -> _Child:
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        if not (pid := os.fork()):
            for pipe in (ours, *(other.pipe for other in others)):
                pipe.close()
            _become(session, name, theirs, self._begin)
        theirs.close()
        return _Child(name, pid, ours)


# --- Where the tests are handed out ---------------------------------------------------------------


class _Dealer:
    """Hands groups of tests out, and passes on what is reported of them.

    A process that is free is kept until all are: one that still runs tests may die, and then
    another one runs what it was given besides.
    """

    def __init__(
        self, session: pytest.Session, groups: deque[deque[int]], children: list[_Child]
    ) -> None:
        self._session = session
        self._hook = session.config.hook
        self._groups = groups
        self._children = {child.pipe: child for child in children}
        self._free: deque[_Child] = deque()

    def run(self) -> None:
        """Go on until all tests have run; raise what ends a session early."""
        while self._children:
            for pipe in connection.wait(list(self._children)):
                child = self._children[pipe]
                try:
                    message: _Message = cast("Any", pipe).recv()
                except (EOFError, ConnectionResetError):
                    del self._children[pipe]
                    self._is_gone(child)
                else:
                    self._hear(child, message)
                if self._session.shouldfail:
                    raise self._session.Failed(self._session.shouldfail)
                if self._session.shouldstop:
                    raise self._session.Interrupted(self._session.shouldstop)
        if self._groups:
            raise self._session.Interrupted("no process is left to run the other tests")

    def _hear(self, child: _Child, message: _Message) -> None:
        kind, said = message
        if kind == "free":
            self._free.append(child)
            self._hand_out()
        elif kind == "report":
            config = self._session.config
            self._report(self._hook.pytest_report_from_serializable(config=config, data=said))
        elif kind == "warning":
            self._hook.pytest_warning_recorded.call_historic(kwargs=said)
        elif kind == "broken":
            raise RuntimeError(f"process {child.name} is broken:\n{said}")
        else:
            assert kind in _REPORTED
            if kind == "pytest_runtest_logstart":
                child.waiting.popleft()
                child.running = said["nodeid"]
            else:
                child.running = None
            getattr(self._hook, kind)(**said)

    def _hand_out(self) -> None:
        """Give each free process a group, or nothing more when all of them are free."""
        while self._free and self._groups:
            self._give(self._free.popleft(), self._groups.popleft())
        if len(self._free) == len(self._children):
            while self._free:
                self._give(self._free.popleft(), deque())

    def _give(self, child: _Child, group: deque[int]) -> None:
        child.waiting = group
        with suppress(OSError):  # it has died, which `run` is about to hear
            child.pipe.send(list(group))

    def _report(self, report: Any) -> None:
        self._hook.pytest_runtest_logreport(report=report)

    def _is_gone(self, child: _Child) -> None:
        """Report the test that a process has died of; others run what it was given besides."""
        if child.running is not None:
            message = f"the process died while it ran {child.running}"
            place = (child.running.partition("::")[0], None, child.running)
            self._report(pytest.TestReport(child.running, place, {}, "failed", message, "call", ()))
        if child.waiting:
            self._groups.appendleft(child.waiting)
        if child in self._free:
            self._free.remove(child)
        self._hand_out()


# --- Where they run -------------------------------------------------------------------------------


class _Reporter:
    """The plugin that tells the process that hands the tests out how they end."""

    def __init__(self, config: pytest.Config, pipe: Any) -> None:
        self._config = config
        self._pipe = pipe

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        """A test begins."""
        self._pipe.send(("pytest_runtest_logstart", {"nodeid": nodeid, "location": location}))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test was set up, called or torn down."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._pipe.send(("report", data))

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        """A test has ended."""
        self._pipe.send(("pytest_runtest_logfinish", {"nodeid": nodeid, "location": location}))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        """A warning was shown; some cannot leave their process, so their text does."""
        shown = warnings.WarningMessage(
            f"{warning_message.category.__name__}: {warning_message.message}",
            Warning,
            warning_message.filename,
            warning_message.lineno,
        )
        said = {"warning_message": shown, "when": when, "nodeid": nodeid, "location": location}
        self._pipe.send(("warning", said))


def _become(session: pytest.Session, name: str, pipe: Any, begin: Callable[[], None]) -> NoReturn:
    """Go on as a process that runs tests, and end as one."""
    code = 1
    try:
        atexit._clear()  # what was left to do at the end is left to the process that began it
        random.seed()
        _stand_alone(session.config, name)
        begin()
        session.config.pluginmanager.register(_Reporter(session.config, pipe), "reporter")
        _run(session, pipe)
        session.config._ensure_unconfigure()
        atexit._run_exitfuncs()
        code = 0
    except (EOFError, ConnectionError):
        pass  # nobody hears it
    except BaseException:  # noqa: BLE001 - raised where the session is
        with suppress(OSError):
            pipe.send(("broken", traceback.format_exc()))
    finally:
        os._exit(code)


def _stand_alone(config: pytest.Config, name: str) -> None:
    """Let go of what the process shares with the one that it was forked from."""
    plugins = config.pluginmanager
    plugins.unregister(name="terminalreporter")
    capture: Any = plugins.get_plugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    paths: Any = config._tmp_path_factory  # type: ignore[attr-defined]
    paths._basetemp = paths.getbasetemp() / name
    paths._basetemp.mkdir(mode=0o700)


def _run(session: pytest.Session, pipe: Any) -> None:
    """Run what is handed out, until nothing is; then end what the tests have shared."""
    # What belongs to the session is kept from one group of tests to the next.
    kept: Any = session
    while True:
        pipe.send(("free", None))
        if not (given := pipe.recv()):
            break
        group = [session.items[place] for place in given]
        for item, following in zip(group, [*group[1:], kept], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    session._setupstate.teardown_exact(None)
