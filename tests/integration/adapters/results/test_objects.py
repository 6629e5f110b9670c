"""An object store used before a fork says so in the child, where it would hang; else it works."""

import os
import sys
import time
from pathlib import Path

import pytest

from tests.tools.session import processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PROGRAM = """
import os, sys
from flowq.adapters.results.objects import open_store
from flowq.core.errors import StoreAfterFork

url, used_before = sys.argv[1], sys.argv[2] == "used"
store = open_store(url)
if used_before:
    store.put("a/b", b"x")
child = os.fork()
if child == 0:
    try:
        # A new store does not help: what hangs is what obstore keeps per process.
        open_store(url).put("a/c", b"y")
        answer = open_store(url).get("a/c").decode()
    except StoreAfterFork as error:
        answer = f"refused: {error}"
    print(answer, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def run(url: str, mode: str) -> str:
    started = time.monotonic()
    done = processes.run([sys.executable, "-W", "ignore", "-c", PROGRAM, url, mode])
    assert 0 == done.returncode, done.stderr
    # The child itself answers at once; the rest is the start of Python.
    assert time.monotonic() - started < 100, done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"file://{tmp_path}/results"


def test_a_child_of_a_process_that_used_a_store_is_refused(url: str) -> None:
    answer = run(url, "used")
    assert answer.startswith("refused: the object store was opened in process")
    assert "--pool threads" in answer


def test_a_child_of_a_process_that_did_not_works(url: str) -> None:
    assert "y" == run(url, "unused")
