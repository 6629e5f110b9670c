"""Live pages: a real Flower, real workers, and clients that listen as browsers do."""

import signal
import time
import urllib.request
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from flowq.core.states import StopKind
from flowq.engine.model.stops import StopReason
from tests.acceptance.apps import worker_flows as flows
from tests.tools.cluster import Cluster, cluster_on, cluster_with_redis
from tests.tools.flowers import Client, code, flower
from tests.tools.waiting import wait_until


def go(folder: Path) -> None:
    (folder / "go").touch()


def test_page_receives_each_step_after_its_end(cluster: Cluster, tmp_path: Path) -> None:
    """None waits for the next end, nor for the end of the run: a step is let go by what is here."""
    with cluster.worker("--concurrency=20", "--pool=threads"), flower(cluster) as url:
        run_id = cluster.submit(flows.one_by_one, count=20, folder=str(tmp_path))
        with Client(f"{url}/flows/{run_id}/live").listening() as page:
            for number in range(20):
                (tmp_path / str(number)).touch()
                page.until("let_go", done=number + 1)
            page.until("run", ended=True)
            wait_until(lambda: page.ended, what="the stream ends with the run")
        view = cluster.wait(run_id)

    assert ("completed", view.total) == (page.run()["status"], page.run()["total"])
    assert ("completed", 20, 20) == tuple(
        page.step("let_go")[n] for n in ("status", "items", "done")
    )


def test_page_that_reconnects_receives_only_what_is_new(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.worker("--concurrency=1", "--pool=threads"), flower(cluster) as url:
        run_id = cluster.submit(flows.holding, folder=str(tmp_path))
        address = f"{url}/flows/{run_id}/live"
        with Client(address).listening() as stays:
            page = Client(address)
            with page.listening():
                page.until("hold", status="running")
                stays.until("hold", status="running")
                seen = wait_until(lambda: page.id == stays.id and page.id, what="both know all")
            again = Client(address, id=str(seen))
            with again.listening():
                go(tmp_path)
                again.until("run", ended=True)
            assert not [1 for _, news in again.heard if news.get("reload")]
            assert "completed" == again.heard[0][1].get("steps", [{}])[0].get("status", "completed")


def test_page_continues_through_a_restart_of_redis_and_of_the_worker(
    sqlite_url: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        cluster, redis = stack.enter_context(cluster_with_redis(sqlite_url, tmp_path / "cluster"))
        url = stack.enter_context(flower(cluster))
        first = ExitStack()
        stack.callback(first.close)
        first.enter_context(cluster.worker("--concurrency=1", name="first", stop=signal.SIGKILL))
        run_id = cluster.submit(flows.holding, folder=str(tmp_path))
        page = stack.enter_context(Client(f"{url}/flows/{run_id}/live").listening())
        lists = stack.enter_context(Client(f"{url}/flows/live").listening())
        page.until("hold", status="running", attempt=1)
        wait_until(lambda: lists.run(run_id).get("status") == "running", what="it is in the list")

        first.close()  # kills its worker
        redis.stop()
        assert not _pings(cluster)
        redis.ensure()
        go(tmp_path)
        stack.enter_context(cluster.worker("--concurrency=1", name="second"))

        page.until("run", status="completed", ended=True)
        wait_until(lambda: lists.run(run_id).get("status") == "completed", what="the list knows")
        assert "completed" == page.step("hold")["status"]


def _pings(cluster: Cluster) -> bool:
    try:
        return bool(cluster.redis.ping())
    except Exception:  # noqa: BLE001 - whatever it is, it does not answer
        return False


def test_twenty_pages_ask_the_database_no_more_than_one(postgres_url: str, tmp_path: Path) -> None:
    with cluster_on(postgres_url, tmp_path / "cluster") as cluster, ExitStack() as stack:
        url = stack.enter_context(flower(cluster))
        run_id = cluster.submit(flows.holding, folder=str(tmp_path))

        def open_pages(count: int) -> None:
            for _ in range(count):
                for path in (f"/flows/{run_id}/live", "/flows/live"):
                    stack.enter_context(Client(url + path).listening())

        open_pages(1)
        # One count may fall into a time in which Flower had no core.
        few = max(_statements_per_second(postgres_url) for _ in range(3))
        open_pages(19)
        # A page that has just been opened asks once for the state of its run, and a slow machine
        # takes longer to open all of them: what counts is the rate that remains.
        wait_until(
            lambda: _statements_per_second(postgres_url) < min(few + 1, 10),
            timeout=120,
            what="20 pages of each kind ask as often as 1",
        )


def _statements_per_second(url: str, seconds: float = 4.0) -> float:
    """Count what clients other than this one do; a statement of theirs is a transaction."""
    address = make_url(url)
    conninfo = address.set(drivername="postgresql").render_as_string(hide_password=False)
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = %s"

    def count() -> tuple[float, int]:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            row = connection.execute(query, [address.database]).fetchone()
            assert row is not None
            return time.monotonic(), row[0]

    # The server reports its numbers about once a second; the connection itself is some of them.
    began, before = count()
    wait_until(lambda: time.monotonic() > began + seconds, timeout=60, what="time passes")
    ended, after = count()
    return (after - before) / (ended - began)


def test_stream_is_behind_the_login_and_under_the_prefix(cluster: Cluster) -> None:
    run_id = cluster.submit(flows.fan, count=1)
    login = {"Authorization": "Basic " + b64encode(b"me:secret").decode()}
    with flower(cluster, "--basic_auth=me:secret", prefix="dash") as url:
        for path in ("/flows/live", f"/flows/{run_id}/live"):
            assert 401 == code(url + path)
            with Client(url + path, login).listening() as page:
                wait_until(lambda page=page: page.lines, what="it is received")  # type: ignore[misc]
        assert 404 == code(f"{url}/flows/{uuid4()}/live", **login)
        assert 404 == code(f"{url.removesuffix('/dash')}/flows/live", **login)


@pytest.mark.parametrize("shown", ["0", "1"])
def test_text_of_steps_is_sent_only_where_it_may_be_shown(
    cluster: Cluster, tmp_path: Path, shown: str
) -> None:
    with (
        cluster.worker("--concurrency=1", "--pool=threads"),
        flower(cluster, FLOWQ_SHOW_CONTENT=shown) as url,
    ):
        run_id = cluster.submit(flows.telling, folder=str(tmp_path), text="a secret")
        with Client(f"{url}/flows/{run_id}/live").listening() as page:
            page.until("tell", status="running")
            go(tmp_path)
            page.until("run", ended=True, status="completed")
        received = "".join(line["text"] for _, news in page.heard for line in news.get("text", []))
        assert ("a secret" if shown == "1" else "") == received


def test_list_receives_new_runs_and_their_ends(cluster: Cluster, tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(cluster.worker("--concurrency=2", "--pool=threads"))
        url = stack.enter_context(flower(cluster))
        with Client(f"{url}/flows/live").listening() as page:
            run_id = cluster.submit(flows.holding, folder=str(tmp_path))
            wait_until(lambda: page.run(run_id).get("status") == "running", what="it is there")
            why = StopReason(StopKind.USER, "wait")
            cluster.engine.records.autocommit(lambda tx: tx.runs.pause([run_id], why))
            wait_until(lambda: page.run(run_id).get("status") == "paused", what="it is paused")
            with Client(f"{url}/flows/{run_id}/live").listening() as own:
                own.until("run", status="paused")
            cluster.engine.records.autocommit(lambda tx: tx.runs.resume([run_id]))
            quick = cluster.submit(flows.fan, count=2)
            wait_until(lambda: page.run(quick).get("status") == "completed", what="it has ended")
            go(tmp_path)
            wait_until(lambda: page.run(run_id).get("done") == 3, what="all is done")
            assert 3 == page.run(run_id)["total"]


def test_metrics_page_shows_flows_beside_what_flower_shows(
    cluster: Cluster, tmp_path: Path
) -> None:
    def series() -> dict[str, str]:
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    with flower(cluster) as url:
        run_id = cluster.submit(flows.holding, folder=str(tmp_path))
        found = series()
        assert "1.0" == found["flowq_up"]
        assert (
            "1.0"
            == found[
                'flowq_runs{flow="tests.acceptance.apps.worker_flows.holding",state="running"}'
            ]
        )
        assert any(name.startswith("process_cpu") for name in found)
        assert not [name for name in found if str(run_id) in name]
        with cluster.records.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE flow_runs RENAME TO away")
        wait_until(lambda: series()["flowq_up"] == "0.0", timeout=60, what="it is down")
