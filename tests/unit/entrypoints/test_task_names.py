"""A step must not have the name of a Celery task of the author, in whatever order they come."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.session.processes import run

START = """
import celery, flowq
from flowq import flow, step
app = celery.Celery("shop", broker="redis://127.0.0.1:1/0")
"""
TASK = """
@app.task(name="shop.charge")
def charge_task(amount):
    return amount
"""
SHARED = """
@celery.shared_task(name="shop.charge")
def charge_task(amount):
    return amount
"""
INSTALL = "flowq.install(app)\n"
STEP = """
@step(name="shop.charge")
def charge(amount: int) -> int:
    return amount
"""
FLOW = """
@flow(name="shop.charge")
def charge() -> None: ...
"""
MAKE = "app.finalize()\n"
#: What a worker does as it starts.
STARTED = """
from types import SimpleNamespace
from flowq.entrypoints import worker
worker.task_names(app).check()
"""


def ran(tmp_path: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "shop.py"
    file.write_text("".join((START, *parts)))
    return run([sys.executable, file], cwd=tmp_path)


@pytest.mark.parametrize(
    "parts",
    [
        (TASK, INSTALL, STEP),
        (INSTALL, TASK, STEP),
        (INSTALL, TASK, FLOW),
        (STEP, TASK, INSTALL),
        (STEP, INSTALL, TASK, MAKE),
        (INSTALL, MAKE, TASK, STEP),
        (TASK, MAKE, INSTALL, STEP),
        (SHARED, INSTALL, STEP, MAKE, STARTED),
    ],
)
def test_name_of_a_task_is_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    done = ran(tmp_path, *parts)

    (lines,) = [line for line in done.stderr.splitlines() if "InvalidFlow:" in line]
    assert (
        "a Celery task and a step or flow are named 'shop.charge': charge_task (shop.py:" in lines
    )
    assert "and charge (shop.py:" in lines


def test_other_tasks_stay_as_they_are(tmp_path: Path) -> None:
    mine = TASK.replace("shop.charge", "shop.pay")
    done = ran(tmp_path, mine, INSTALL, STEP, MAKE, STARTED, "print(charge_task(3), charge(4))")

    assert (done.stdout, done.stderr) == ("3 4\n", "")


@pytest.mark.parametrize("made", ["", MAKE])
def test_forgotten_steps_are_tasks_no_longer(tmp_path: Path, made: str) -> None:
    """A suite defines thousands, each in a block of its own."""
    forget = """
for _ in range(2):
    with flowq.testing.definitions():
        flow(name="shop.pay")(charge_all)
        step(name="shop.round")(charge_all)
        count = len(app._pending), len(app._tasks)
print(count[0] + count[1] - len(app._pending) - len(app._tasks))
print(sorted(name for name in app.tasks if name.startswith("shop")))
"""
    start = "import flowq.testing\ndef charge_all() -> None: ...\n"
    done = ran(tmp_path, start, INSTALL, TASK, made, forget)

    assert (done.stdout, done.stderr) == ("2\n['shop.charge']\n", "")
