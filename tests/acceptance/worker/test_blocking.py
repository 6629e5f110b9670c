"""A step that waits for a run holds a process of its worker: it is refused, or says it may."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowq.core.states import RunState
from tests.acceptance.apps import waiting_flows as flows
from tests.tools.cluster import PATIENT, Cluster, cluster_on

APP = "tests.acceptance.apps.waiting_flows"
POOLS = {
    "prefork": ["--pool=prefork", "--concurrency=1"],
    "threads": ["--pool=threads", "--concurrency=1"],
    "solo": ["--pool=solo"],
}


@pytest.fixture(scope="module", params=list(POOLS))
def one(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A cluster with one worker of one process."""
    folder = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{shutil.copy(sqlite_template, folder / 'flowq.db')}"
    with (
        cluster_on(url, folder, **PATIENT) as cluster,
        cluster.worker(*POOLS[request.param], app=APP),
    ):
        yield cluster


@pytest.mark.parametrize("how", list(flows.REFUSED))
def test_step_that_waits_fails_once_and_says_what_to_do(one: Cluster, how: str) -> None:
    view = one.wait(one.submit(flows.refused, how=how))

    assert view.status is RunState.FAILED
    assert "waits for run" in str(view.error)
    step = view.steps[0]
    assert (step.error_type, step.attempts) == ("WouldBlock", 1)


def test_result_of_a_run_that_has_ended_may_be_read(one: Cluster) -> None:
    child = one.submit(flows.child)
    one.result(child)

    assert one.run(flows.past, run_id=str(child)) == 2


def test_task_of_the_users_own_may_not_wait_either(one: Cluster) -> None:
    sent = one.app.send_task("waiting.task", ignore_result=False)

    with pytest.raises(Exception, match="would block a process of the worker"):
        sent.get(timeout=60)


def test_step_may_wait_where_another_worker_is_free(one: Cluster) -> None:
    options = ["--pool=threads", "--concurrency=2"]
    with one.worker(*options, name="other", app=APP):
        assert one.run(flows.allowed, timeout=60) == 1
