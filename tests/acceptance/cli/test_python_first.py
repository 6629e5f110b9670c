"""A program, or Celery's worker, is the first that a new folder sees: nothing is typed before."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.commands import Shell
from tests.tools import servers
from tests.tools.waiting import wait_until


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    try:
        yield made
    finally:
        made.stop_server()


def test_a_run_that_python_enqueues_is_recorded_in_a_new_folder(shell: Shell) -> None:
    run_id = (
        shell.python("import flows; print(flows.good.enqueue(n=3).id)").strip().splitlines()[-1]
    )

    assert shell.flowq("runs", "ls", "--json").json[0]["id"] == run_id


def test_celerys_worker_makes_the_tables_in_a_new_folder(shell: Shell) -> None:
    (shell.folder / "app.py").write_text(
        "import flowq\n\napp = flowq.celery_app()\n\nimport flows\n"
    )
    command = [sys.executable, "-m", "celery", "-A", "app", "worker", "-l", "INFO", "-P", "threads"]
    log = shell.folder / "worker.log"
    with servers.process(command, cwd=shell.folder, env=shell.environment, log=log):
        wait_until(lambda: "ready." in log.read_text(), timeout=60, what="the worker is ready")
        done = shell.flowq("run", "flows.py:good", "-p", "n=3", "--timeout", "60", "--json")

    assert done.code == 0
    assert "has no flowq tables" not in log.read_text()
