"""A flow or a step by its name, as any Celery task; and what the log says of steps that fail."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import chain, chord
from celery.result import AsyncResult

from flowq.core.ids import RunId
from flowq.core.states import RunState
from tests.acceptance.apps import called_app as flows
from tests.tools.cluster import PATIENT, Cluster, cluster_on
from tests.tools.waiting import wait_until

# It asks Redis, and what is left of a test's results may go after its Redis has.
AsyncResult.__del__ = lambda _: None  # type: ignore[method-assign]

HERE = "tests.acceptance.apps.called_app"
#: What warnings say of the two steps that fail.
ODD_AND_BROKEN = ("is odd and breaks", "broken of run")


@pytest.fixture(scope="module")
def running(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a worker of threads."""
    folder = tmp_path_factory.mktemp("called")
    url = f"sqlite:///{shutil.copy(sqlite_template, folder / 'flowq.db')}"
    options = ("--pool=threads", "--concurrency=8")
    with cluster_on(url, folder, **PATIENT) as cluster, cluster.worker(*options, app=HERE):
        yield cluster


def log_of(cluster: Cluster) -> str:
    return (cluster.folder / "worker.log").read_text()


def call(cluster: Cluster, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a task by its name, as `send_task` and beat do, and return its result."""
    sent = cluster.app.send_task(f"{HERE}.{name}", args, kwargs, ignore_result=False)
    return sent.get(timeout=60)


@pytest.mark.parametrize(
    "name, args, kwargs, output",
    [
        ("sum_of", (), {"left": 3, "right": 4}, 7),
        ("sum_of", (3,), {"right": 4}, 7),
        ("sum_of", (3,), {}, 4),
        ("nothing", (), {}, 2),
        ("program", (5,), {}, 6),
    ],
)
def test_flow_called_as_a_task_starts_a_run(
    running: Cluster, name: str, args: Any, kwargs: Any, output: int
) -> None:
    run_id = call(running, name, *args, **kwargs)

    assert running.result(RunId(UUID(run_id))) == output
    assert running.view(RunId(UUID(run_id))).flow_name == f"{HERE}.{name}"


def test_flow_of_a_class_takes_its_dict_or_names(running: Cluster) -> None:
    for args, kwargs in (([{"n": 2}], {}), ([], {"n": 2})):
        sent = running.app.send_task("called-classy", args, kwargs, ignore_result=False)

        assert running.result(RunId(UUID(sent.get(timeout=60)))) == {"doubled": 4}


def test_message_that_comes_twice_starts_one_run(running: Cluster) -> None:
    task_id = str(uuid4())
    again = [
        running.app.send_task(
            f"{HERE}.sum_of", kwargs={"left": 1}, task_id=task_id, ignore_result=False
        ).get(timeout=60)
        for _ in range(2)
    ]

    assert again[0] == again[1]


def test_flow_called_with_wrong_inputs_says_so(running: Cluster) -> None:
    with pytest.raises(Exception, match="left: expected a valid integer"):
        call(running, "sum_of", "many")
    with pytest.raises(Exception, match="wrong: unknown input"):
        call(running, "nothing", wrong=1)
    said = rf"ERROR.*{HERE}.sum_of, called as a Celery task, has failed"
    wait_until(lambda: re.search(said, log_of(running)), what="it is logged")


def test_step_called_as_a_task_is_an_ordinary_task(running: Cluster) -> None:
    """So nothing is lost that was sent before a task became a step."""
    assert call(running, "add", 3) == 4
    assert call(running, "add", 3, right=5) == 8
    assert call(running, "slow_add", 3) == 4
    assert call(running, "moved", {"x": 1}) == {"x": 2, "y": 0}
    assert log_of(running).count(f"step {HERE}.add was called as a Celery task") == 1


def test_canvas_of_steps_ends_as_it_did_before_they_were_steps(running: Cluster) -> None:
    def sig(name: str, *args: Any) -> Any:
        return running.app.signature(f"{HERE}.{name}", args=args)

    chained = chain(sig("add", 1), sig("add", 10), sig("add"))
    joined = chord([sig("add", number) for number in range(4)], sig("total"))

    assert chained.apply_async(ignore_result=False).get(timeout=60) == 13
    assert joined.apply_async(ignore_result=False).get(timeout=60) == 10


def test_step_called_wrongly_says_what_its_parameters_are(running: Cluster) -> None:
    with pytest.raises(Exception, match=r"called wrongly(.|\n)*left: int, right: int = 1"):
        call(running, "add", 1, 2, 3)


def test_tolerated_failures_are_a_warning_each(running: Cluster) -> None:
    run_id = running.submit(flows.tolerant, tolerate=8)
    assert running.result(run_id) == 16
    running.result(lenient := running.submit(flows.lenient))
    running.result(caught := running.submit(flows.catching))

    runs = (str(run_id), str(lenient), str(caught))

    def lines() -> list[str]:
        return [line for line in log_of(running).splitlines() if any(one in line for one in runs)]

    def counts() -> tuple[int, int]:
        warnings = [line for line in lines() if "WARNING" in line]
        odd, broken = ([line for line in warnings if one in line] for one in ODD_AND_BROKEN)
        return len(odd), len(broken)

    # A step is recorded before it is logged.
    wait_until(lambda: sum(counts()) >= 10, what="all warnings are logged")
    log = log_of(running)
    assert counts() == (9, 1)
    assert not [line for line in lines() if "ERROR" in line]
    assert "Chord" not in log
    assert "raised unexpected" not in log


def test_final_failure_is_one_error_with_the_users_frames(running: Cluster) -> None:
    run_id = running.submit(flows.failing)
    assert running.wait(run_id).status is RunState.FAILED

    said = f"broken of run {run_id} has failed: ValueError: 7 is broken"
    wait_until(lambda: said in log_of(running), what="the failure is logged")
    log = log_of(running)
    first = log.index(said)
    log_text = log[log.rindex("\n", 0, first) + 1 :]
    traced = log_text.partition("ValueError: 7 is broken\n")[2].partition(
        "ValueError: 7 is broken"
    )[0]
    assert "ERROR" in log_text.splitlines()[0]
    assert re.findall(r'File "(.*)"', traced) == [flows.__file__]
    assert log.count(f"{run_id} has failed") == 1


def test_map_that_fails_for_its_tolerance_is_one_error(running: Cluster) -> None:
    run_id = running.submit(flows.tolerant, tolerate=2)
    assert running.wait(run_id).status is RunState.FAILED

    def found() -> list[str]:
        lines = log_of(running).splitlines()
        return [line for line in lines if "ERROR" in line and str(run_id) in line]

    errors = wait_until(found, what="the failure is logged")
    assert len(errors) == 1
    assert re.search(r"odd_breaks of run \S+ has failed: \d+ of 16 items failed", errors[0])


def test_flower_sees_each_failure(running: Cluster) -> None:
    with running.events() as heard:
        run_id = running.submit(flows.tolerant, tolerate=8)
        running.result(run_id)

        def failed() -> dict[str, str]:
            """The failures of this run: an earlier one may still be running its last items."""
            root = str(run_id)
            ours = {one["uuid"] for one in heard if one.get("root_id") == root}
            failures = [one for one in heard if one["type"] == "task-failed"]
            return {one["uuid"]: one["exception"] for one in failures if one["uuid"] in ours}

        wait_until(lambda: len(failed()) == 8, what="all failures are logged")
    assert all(text.startswith("ValueError(") for text in failed().values())
