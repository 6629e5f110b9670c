"""A process that was stopped, as by Ctrl-Z or a debugger, keeps the timeouts of its steps."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tools.session.processes import Process
from tests.tools.waiting import wait_until

#: Runs a step in the main thread that waits for ever, beside threads that would get its alarm too.
PROGRAM = """
import logging, sys, threading
from datetime import timedelta
from pathlib import Path
from uuid import UUID
from flowq.core.errors import StepTimeout
from flowq.engine.runtime.context import StepContext
from flowq.engine.runtime.execution import Attempt

never = threading.Event()
for _ in range(20):
    threading.Thread(target=never.wait, daemon=True).start()

def work():
    Path(sys.argv[1]).touch()
    never.wait()

log = logging.LoggerAdapter(logging.getLogger("test"), {})
context = StepContext(UUID(int=1), UUID(int=2), "work", None, 1, "key", log)
try:
    Attempt().call_sync(work, (), {}, context, timedelta(seconds=1))
except StepTimeout as error:
    print(error)
"""


@pytest.mark.parametrize("_time", range(3))
def test_alarm_is_heard_by_the_thread_that_waits(tmp_path: Path, _time: int) -> None:
    begun = tmp_path / "begun"
    command = [sys.executable, "-c", PROGRAM, str(begun)]
    with Process[str](command, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(begun.exists, what="the step begins")
            os.kill(process.pid, signal.SIGSTOP)
            with suppress(subprocess.TimeoutExpired):  # unless it has ended before it was stopped
                process.wait(1.5)  # the alarm rings meanwhile
            os.kill(process.pid, signal.SIGCONT)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert out == "took longer than its timeout of 1 s\n"
