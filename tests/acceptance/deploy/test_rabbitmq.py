"""RabbitMQ as broker for people: an app of their own, commands, Flower, TLS, workers that stop."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from tests.acceptance.apps import worker_flows as flows
from tests.acceptance.commands import Shell
from tests.acceptance.worker.test_shutdown import LONG, begin
from tests.tools.brokers.rabbitmq import RabbitMq
from tests.tools.cluster import Cluster
from tests.tools.tls import certificate, tls_in_front_of
from tests.tools.waiting import wait_until

#: From 8 steps on a batch is a chord, where there is a Redis.
_MANY = 30
#: An app that somebody had before flowq, on RabbitMQ and without a result backend.
SHOP = """
import os
from pathlib import Path

import flowq
from celery import Celery
from flows import good, patient

app = Celery("shop", broker=os.environ["SHOP_BROKER"])
app.conf.task_queue_max_priority = 5
app.conf.task_default_queue = "shop"


@app.task
def touch(path: str) -> None:
    Path(path).touch()


flowq.install(app)
"""


def shell_in(folder: Path, **environment: str) -> Shell:
    folder.mkdir()
    return Shell(folder, environment)


def doctor(shell: Shell, *options: str) -> dict[str, dict[str, str]]:
    return {one["name"]: one for one in shell.flowq(*options, "doctor", "--json").json["checks"]}


@pytest.fixture
def shop(tmp_path: Path, rabbitmq_node: RabbitMq) -> Shell:
    shell = shell_in(tmp_path / "shop", SHOP_BROKER=rabbitmq_node.url, FLOWQ_SWEEP_SECONDS="0.5")
    (shell.folder / "shop.py").write_text(SHOP)
    return shell


def test_app_of_ones_own_needs_no_redis(shop: Shell) -> None:
    """A run is queued before any worker; then it runs, and everybody sees it, from the rows."""
    app = ("--app", "shop.py")
    queued = shop.flowq(*app, "run", "shop.py:good", "-p", f"n={_MANY}")
    run_id = queued.out.strip()
    assert 0 == queued.code, queued.err
    assert not (shop.home / "valkey.sock").exists()
    seen = doctor(shop, *app)
    assert "messages are confirmed, 1 in queue shop" in seen["broker"]["text"]
    assert seen["Redis"]["text"].startswith("none")
    assert {"ok"} == {seen[name]["level"] for name in ("app", "broker", "Redis")}

    with shop.worker(target="shop.py") as log, shop.flower(target="shop.py") as flower:
        watched = shop.flowq(*app, "runs", "watch", run_id)
        assert 0 == watched.code, watched.err
        code = (
            "import shop; from flowq import Run\n"
            f"run = Run.get({run_id!r})\n"
            "print([run.result(60), [one.event_type for one in run.events()][-1]])\n"
            f"print(shop.good.enqueue(n={_MANY}).result(60))\n"
            "shop.touch.delay('touched')"
        )
        expected = [f"[{_MANY * (_MANY - 1)}, 'WORKFLOW_COMPLETED']", str(_MANY * (_MANY - 1))]
        assert expected == shop.python(code).splitlines()
        wait_until((shop.folder / "touched").exists, timeout=60, what="their own task runs")
        shop.until("1 online", *app, "doctor")
        page = httpx2.get(f"{flower}/flows/{run_id}")
        assert 200 == page.status_code
        assert "completed" in page.text
        assert "Traceback" not in log.read_text()
    assert "Traceback" not in (shop.folder / "flower.log").read_text()


def test_redis_beside_it_keeps_results_events_and_chords(
    tmp_path: Path, rabbitmq_node: RabbitMq, redis_url: str
) -> None:
    """With no app of one's own: two settings, and `flowq worker`."""
    servers = {"FLOWQ_BROKER_URL": rabbitmq_node.url, "FLOWQ_REDIS_URL": redis_url}
    shell = shell_in(tmp_path / "beside", FLOWQ_RESULT_INLINE_BYTES="0", **servers)
    with shell.worker():
        done = shell.flowq("run", "flows.py:good", "-p", f"n={_MANY}", "--wait", "--timeout", "60")
        assert _MANY * (_MANY - 1) == done.json
        assert "RabbitMQ" in doctor(shell)["broker"]["text"]
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        keys: Any = client.keys()
        names = {name.decode() for name in keys}
    assert any(name.startswith("flowq:run:") for name in names)
    assert any("result" in name for name in names), names
    assert not any(name.startswith(("_kombu", "unacked", "celery@")) for name in names)


def test_tls(tmp_path: Path, rabbitmq_node: RabbitMq) -> None:
    """The certificate is asked for, and has to be known."""
    files = certificate(tmp_path)
    with tls_in_front_of(rabbitmq_node.port, files) as port:
        url = f"amqps://guest:guest@localhost:{port}//"
        known = shell_in(tmp_path / "known", FLOWQ_BROKER_URL=f"{url}?ssl_ca_certs={files[0]}")
        with known.worker():
            done = known.flowq("run", "flows.py:good", "-p", "n=3", "--wait", "--timeout", "60")
            assert 6 == done.json, done.err
        unknown = doctor(shell_in(tmp_path / "unknown", FLOWQ_BROKER_URL=url))

    assert "problem" == unknown["broker"]["level"]
    assert "CERTIFICATE_VERIFY_FAILED" in unknown["broker"]["text"]
    assert "guest:guest" not in json.dumps(unknown)


@pytest.fixture
def cluster(tmp_path: Path, sqlite_url: str, rabbitmq_node: RabbitMq) -> Iterator[Cluster]:
    given = {"FLOWQ_BROKER_URL": rabbitmq_node.url, "FLOWQ_REDIS_URL": ""}
    cluster = Cluster(rabbitmq_node.url, sqlite_url, tmp_path / "cluster", given)
    yield cluster
    cluster.close()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_worker_that_stops_gives_back_at_once_what_it_has_not_begun(
    cluster: Cluster, tmp_path: Path, pool: str
) -> None:
    options = (f"--pool={pool}", "--concurrency=1", "--prefetch-multiplier=8")
    with cluster.worker(*options, environment=LONG) as worker:
        run_id = begin(cluster, flows.holding, tmp_path)
        others = cluster.submit(flows.wide, count=6)
        depth = cluster.engine.dispatcher.depth
        wait_until(lambda: depth("celery") == 0, what="all are fetched")

        worker.terminate()

        wait_until(lambda: depth("celery") >= 6, what="all are back")
        assert worker.poll() is None
        with cluster.worker("--pool=threads", name="next", environment=LONG):
            assert [2 * i for i in range(6)] == cluster.result(others, timeout=60)
            assert worker.poll() is None
            (tmp_path / "go").touch()
            assert worker.wait(60) == 0
            assert cluster.result(run_id, timeout=60) > 0
    assert "PRECONDITION_FAILED" not in cluster.logs()
