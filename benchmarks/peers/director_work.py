"""The works as celery-director does them: canvas from a YAML file, its states in PostgreSQL.

Its workers are Celery's: two processes, and a thread for each of the waits of a second, as flowq
has them. A workflow is started by the code behind its `POST /api/workflows`, and has ended when
its row says so; its own last task sleeps for half a second before it writes that. It has no maps
and no programs: the 1,000 tasks of the fan-out stand in the file.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import Found, measured, same, tell
from benchmarks.processes import cpu

HOME = Path(os.environ["BENCH_HOME"])
#: Lists of tasks; JSON is YAML, too.
WORKFLOWS: dict[str, list[Any]] = {
    "bench.chain": ["NOOP"] * 100,
    "bench.fan_out": ["NOOP", {"ALL": {"type": "group", "tasks": ["NOOP"] * 1000}}, "COUNT"],
    "bench.diamonds": ["NOOP", {"ALL": {"type": "group", "tasks": ["NOOP"] * 3}}, "COUNT"],
    "bench.naps": [{"ALL": {"type": "group", "tasks": ["NAP"] * 500}}, "COUNT"],
}


@contextmanager
def worker(pool: str, concurrency: int) -> Iterator[int]:
    """Run its worker as `director celery worker` does; give its process id."""
    from director.extensions import cel

    name = f"{pool}-{time.monotonic_ns()}@bench"
    command = [sys.executable, "-m", "celery", "-A", "director._auto:cel", "worker", "-n", name]
    command += ["-P", pool, "-c", str(concurrency), "-l", "WARNING", "-E"]
    command += ["--without-mingle", "--without-gossip"]
    with (HOME / "worker.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 120
            while not cel.control.ping([name], timeout=0.3):
                if running.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the worker did not start: see {log.name}")
            yield running.pid
        finally:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()


def project() -> None:
    """Make the folder of a project, with its database."""
    (HOME / "tasks").mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("director_tasks.py"), HOME / "tasks" / "bench.py")
    definitions = {name: {"tasks": tasks} for name, tasks in WORKFLOWS.items()}
    (HOME / "workflows.yml").write_text(json.dumps(definitions))
    (HOME / ".env").write_text("")
    os.environ |= {
        "DIRECTOR_HOME": str(HOME),
        "DIRECTOR_DATABASE_URI": os.environ["BENCH_DATABASE"],
        "DIRECTOR_BROKER_URI": f"{os.environ['BENCH_REDIS']}?virtual_host=3",
        "DIRECTOR_RESULT_BACKEND_URI": f"{os.environ['BENCH_REDIS']}?virtual_host=4",
        "FLASK_APP": "director._auto:app",
    }
    command = [sys.executable, "-m", "flask", "db", "upgrade"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def started(name: str) -> str:
    """Start a workflow; return its id."""
    from director.builder import WorkflowBuilder
    from director.models.workflows import Workflow

    workflow = Workflow(project="bench", name=name, payload={})
    workflow.save()
    WorkflowBuilder(workflow.id).run()
    return str(workflow.id)


def ended(ids: list[str]) -> list[Any]:
    """Wait until workflows have ended, and return the results of their tasks that count."""
    from director.extensions import db
    from director.models import StatusType
    from director.models.tasks import Task
    from director.models.workflows import Workflow

    while True:
        rows = db.session.query(Workflow.status).filter(Workflow.id.in_(ids)).all()
        states = [status for (status,) in rows]
        db.session.remove()
        if StatusType.error in states:
            raise RuntimeError("a workflow has failed")
        if states == [StatusType.success] * len(ids):
            break
        time.sleep(0.01)
    counts = db.session.query(Task.result).filter(Task.workflow_id.in_(ids), Task.key == "COUNT")
    return [result for (result,) in counts]


def found(work: str) -> Iterator[Found]:
    """Do a work."""
    count, expected = {
        "chain": (1, []),
        "fan_out": (1, [1000]),
        "diamonds": (200, [3] * 200),
        "naps": (1, [500]),
    }[work]
    pool, concurrency = ("threads", 500) if work == "naps" else ("prefork", 2)
    way = "500 threads" if work == "naps" else "2 processes"

    def once() -> None:
        same(ended([started(work) for _ in range(count)]), expected)

    with worker(pool, concurrency) as pid:
        yield measured(way, once, lambda: cpu(pid))


def main() -> None:
    """Do the work that the command line names, if it can be done."""
    work = sys.argv[1]
    if f"bench.{work}" not in WORKFLOWS:
        return
    project()
    from director import create_app

    with create_app().app_context():
        for one in found(work):
            tell(one)


if __name__ == "__main__":
    main()
