"""A process may fork while a thread of it writes to SQLite; the child can write too."""

import sys
from pathlib import Path

import pytest

from tests.tools.session.processes import run

PROGRAM = """
import os, sys, threading
from flowq.adapters.records.database import SqlRecords
from flowq.core.ids import RunId
from flowq.core.states import StopKind
from flowq.engine.model.stops import StopReason
from uuid import uuid4

WHY = StopReason(StopKind.USER, "why")

def write(records):
    # A transaction is open for as long as it takes to say so.
    records.transaction(
        lambda tx: (tx.runs.stop(RunId(uuid4()), WHY), writing.set(), pause.wait(0.005))
    )

url = sys.argv[1]
records, writing, pause, over = SqlRecords(url), threading.Event(), threading.Event(), []

def work():
    while not over:
        write(records)
        pause.wait(0.01)  # the child should have its turn

thread = threading.Thread(target=work)
thread.start()
for _ in range(10):
    writing.clear()
    writing.wait()
    child = os.fork()
    if child == 0:
        threading.Timer(60, os._exit, [1]).start()
        write(SqlRecords(url))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status))
over.append(True)
thread.join()
print("done")
"""


def test_child_that_is_forked_while_a_thread_writes_can_write(sqlite_url: str) -> None:
    done = run([sys.executable, "-W", "ignore", "-c", PROGRAM, sqlite_url])

    assert 0 == done.returncode, done.stderr
    assert done.stdout.split() == ["0"] * 10 + ["done"]


CLOSED = """
import os, sys
from pathlib import Path
from flowq.adapters.records.database import SqlRecords

url = sys.argv[1]
file = url.removeprefix("sqlite:///")
records = SqlRecords(url)
records.autocommit(lambda tx: tx.runs.status(RUN))

def is_open():
    return any(os.path.realpath(one).startswith(file) for one in Path("/proc/self/fd").iterdir())

assert is_open()
if os.fork() == 0:
    print("child", is_open(), flush=True)
    os._exit(0)
os.wait()
print("parent", records.autocommit(lambda tx: tx.runs.status(RUN)))
""".replace("RUN", "__import__('uuid').uuid4()")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell")
def test_child_inherits_no_open_file(sqlite_url: str) -> None:
    done = run([sys.executable, "-W", "ignore", "-c", CLOSED, sqlite_url])

    assert 0 == done.returncode, done.stderr
    assert done.stdout.splitlines() == ["child False", "parent None"]
