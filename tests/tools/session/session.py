"""What the processes of a session share: the fork server, and servers that take long to start.

The process that owns the session starts a server when the first test asks for it, and ends it at
the end; the processes that are forked to run tests ask by a socket. What a killed session
leaves behind, the fork server kills.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from threading import RLock, Thread
from uuid import uuid4

from flowq.adapters.records.migrations import migrate
from tests.tools import servers
from tests.tools.session import processes

#: Gives an address, while its server runs; some need another one.
Service = Callable[["Session"], AbstractContextManager[str]]


class Session:
    """The session, in the process that owns it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.fork_server = processes.ForkServer()
        self.folder = Path(tempfile.mkdtemp(prefix="flowq-session-"))
        self._listener = Listener(str(self.folder / "socket"), backlog=64)
        self._addresses: dict[str, str] = {}
        self._started = ExitStack()
        self._lock = RLock()
        processes.use(self.fork_server.folder)

    def listen(self) -> None:
        """Answer other processes too, which may have asked already."""
        Thread(target=self._serve, daemon=True).start()

    def forked(self) -> "Member":
        """Return the same session, in a process that was forked from the one that owns it."""
        self.fork_server.leave()
        return Member(self.folder)

    def address(self, name: str) -> str:
        """Return the address of a service, which runs from now on."""
        with self._lock:
            if name not in self._addresses:
                self._addresses[name] = self._started.enter_context(_SERVICES[name](self))
            return self._addresses[name]

    def close(self) -> None:
        """End all that was started."""
        self._listener.close()
        with self._lock:
            self._started.close()
        self.fork_server.close()
        shutil.rmtree(self.folder)

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return  # it is closed
            Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection, suppress(EOFError):
            name = connection.recv()
            try:
                connection.send((self.address(name), None))
            except BaseException as error:  # noqa: BLE001 - raised where it was asked for
                connection.send(("", repr(error)))


class Member:
    """The session, in another process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def address(self, name: str) -> str:
        """Return the address of a service, which runs from now on."""
        with Client(str(self.folder / "socket")) as connection:
            connection.send(name)
            address, error = connection.recv()
        assert error is None, f"{name} did not start: {error}"
        return str(address)

    def close(self) -> None:
        """Leave it; whoever owns it ends it."""


@contextmanager
def _postgres(session: Session) -> Iterator[str]:
    if url := session.environment.get("FLOWQ_TEST_DATABASE_URL"):
        yield servers.parse(url).render_as_string(hide_password=False)
        return
    with servers.postgres() as address:
        yield address.render_as_string(hide_password=False)


@contextmanager
def _postgres_template(session: Session) -> Iterator[str]:
    server = servers.parse(session.address("postgres"))
    name = f"flowq_template_{uuid4().hex}"
    servers.administer(server, "CREATE DATABASE {}", name)
    migrate.upgrade(servers.database(server, name))
    yield name
    servers.administer(server, "DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def _sqlite_template(session: Session) -> Iterator[str]:
    file = session.folder / "template.db"
    migrate.upgrade(f"sqlite:///{file}")
    yield str(file)


@contextmanager
def _moto(session: Session) -> Iterator[str]:
    folder = session.folder / "moto"
    folder.mkdir()
    with servers.s3(folder) as endpoint:
        yield endpoint


_SERVICES: dict[str, Service] = {
    "postgres": _postgres,
    "postgres_template": _postgres_template,
    "sqlite_template": _sqlite_template,
    "moto": _moto,
}
