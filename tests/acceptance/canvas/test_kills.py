"""A worker is killed in the middle of a chord: the run goes on where it was, and loses nothing."""

import os
import signal
from pathlib import Path
from typing import Any

from celery import chain, group

from flowq.canvas.compiling import compile_canvas
from flowq.canvas.plan import CanvasPlan
from flowq.canvas.program import canvas
from flowq.core.states import RunState, StepState
from tests.acceptance.canvas.shop_app import app, begin, total, work
from tests.tools.cluster import Cluster
from tests.tools.waiting import wait_until

_APP = "tests.acceptance.canvas.shop_app"
_POOL = ("--pool=prefork", "--concurrency=2")


def test_kill_in_the_middle_of_a_chord_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    folder.mkdir()
    header = group(work.s(index, str(folder)) for index in (0, 2, 1, 3, 4))
    signature = chain(begin.s(100), header, total.s(str(folder)))
    plan = CanvasPlan(name="killed", root=compile_canvas(signature, app))

    def seen(index: int) -> int:
        return len(list(folder.glob(f"{index}-*")))

    with cluster.events() as heard:
        with cluster.worker(*_POOL, name="first", app=_APP, stop=signal.SIGKILL) as first:
            run_id = cluster.submit(canvas, canvas=plan.to_json())
            wait_until(lambda: seen(1) and seen(3) and seen(2), what="two of the header wait")
            os.killpg(first.pid, signal.SIGKILL)
        cluster.lapse()
        (folder / "go").touch()
        with cluster.worker(*_POOL, name="second", app=_APP):
            view = cluster.wait(run_id)

        def shown() -> set[Any]:
            return {one.get("name") for one in heard if one["type"] == "task-received"}

        # What Flower filters by.
        wait_until(lambda: {begin.name, work.name, total.name} <= shown(), what="all are shown")

    assert view.status is RunState.COMPLETED, cluster.logs()
    assert cluster.result(run_id) == 500 + 10
    assert {step.status for step in view.steps} == {StepState.COMPLETED}
    assert [seen(0), seen(2), seen(4)] == [2, 1, 1]  # the first one has retried
    assert len(list(folder.glob("total-*"))) == 1
    assert [seen(1), seen(3)] == [2, 2]  # recovered
    assert not list(folder.glob("1-1-*"))  # a recovery is no retry
