"""A RabbitMQ node of a test's own, from the program that the system brings.

It has free ports, a folder of its own for data, logs and the Erlang cookie, and a port mapper
(epmd) of its own, so it neither sees nor disturbs another node. Everything is ended by its id.
Where `rabbitmq-server` is not installed such tests are skipped, or fail with
FLOWQ_REQUIRE_RABBITMQ=1.
"""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from kombu import Connection

from tests.tools import servers
from tests.tools.waiting import wait_until

#: Debian's /usr/sbin/rabbitmq-server changes the user; this one runs as whoever starts it.
_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def _program() -> str:
    found = str(_DEBIAN) if _DEBIAN.exists() else shutil.which("rabbitmq-server")
    if found is not None and shutil.which("epmd") is not None:
        return found
    reason = "rabbitmq-server is not installed: apt-get install rabbitmq-server"
    if os.environ.get("FLOWQ_REQUIRE_RABBITMQ") == "1":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


class RabbitMq:
    """A node that can be killed and started again; it keeps its data in between.

    Args:
        folder: Where everything of it is.
    """

    def __init__(self, folder: Path) -> None:
        self._program = _program()
        self._folder = folder
        self.port, self._dist, self._epmd = (servers.free_port() for _ in range(3))
        self._running = ExitStack()
        self._node: Popen[bytes] | None = None
        for name in ("home", "mnesia", "log"):
            (folder / name).mkdir()
        (folder / "plugins").write_text("[].\n")
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", "log.console = false"]
        (folder / "rabbitmq.conf").write_text("\n".join([*lines, ""]))

    @property
    def url(self) -> str:
        """Its address."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start the node, and wait until it accepts connections."""
        epmd = ["epmd", "-port", str(self._epmd), "-address", "127.0.0.1"]
        self._running.enter_context(servers.process(epmd, log=self._folder / "epmd.log"))
        # Else the node would start one that outlives it.
        wait_until(lambda: _listens(self._epmd), what="epmd accepts")
        env = {
            **os.environ,
            "HOME": str(self._folder / "home"),
            "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_NODENAME": "flowq@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        log = self._folder / "node.log"
        self._node = self._running.enter_context(servers.process([self._program], env=env, log=log))
        wait_until(self._accepts, timeout=300, what=f"RabbitMQ accepts: {log.read_text()}")

    def kill(self) -> None:
        """End the node at once, as by a power cut; what was synced to the disk is kept."""
        assert self._node is not None
        os.killpg(self._node.pid, signal.SIGKILL)
        self._running.close()

    def stop(self) -> None:
        """End it, and its port mapper."""
        self._running.close()

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """Have a channel of a new connection."""
        with Connection(self.url) as connection, connection.channel() as channel:
            yield channel

    def _accepts(self) -> bool:
        assert self._node is not None
        assert self._node.poll() is None, (self._folder / "node.log").read_text()
        if not _listens(self.port):
            return False
        try:
            with self.channel():
                return True
        except OSError:
            return False  # it listens, and has not started everything yet


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def rabbitmq() -> Iterator[RabbitMq]:
    """Run a RabbitMQ node."""
    with tempfile.TemporaryDirectory(prefix="flowq-rabbit-") as name:
        node = RabbitMq(Path(name))
        node.start()
        try:
            yield node
        finally:
            node.stop()
