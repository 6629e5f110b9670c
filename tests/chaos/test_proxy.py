"""The proxy itself: what it breaks, and that it lets everything else pass."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.chaos.harness.proxy import Proxy, Way
from tests.tools.waiting import wait_until


@contextmanager
def echo() -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """A server that answers what it is sent, in capitals; gives its address and what it heard."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    heard.append(data)
                    connection.sendall(data.upper())
            except OSError:
                return  # the client was reset

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname(), heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def server() -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    with echo() as server:
        yield server


@pytest.fixture
def heard(server: tuple[tuple[str, int], list[bytes]]) -> list[bytes]:
    return server[1]


@pytest.fixture
def proxy(server: tuple[tuple[str, int], list[bytes]]) -> Iterator[Proxy]:
    with Proxy(server[0]) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)


def ask(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return connection.recv(65536)


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    return False


def test_data_passes_both_ways(proxy: Proxy) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        assert ask(one, b"one") == b"ONE"
        assert ask(other, b"other") == b"OTHER"


def test_end_of_one_side_reaches_the_other(proxy: Proxy) -> None:
    with connect(proxy) as one:
        assert ask(one, b"one") == b"ONE"
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""


def test_cut_resets_connections_and_refuses_new_ones_until_restored(proxy: Proxy) -> None:
    with connect(proxy) as one:
        assert ask(one, b"one") == b"ONE"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)

    proxy.restore()

    with connect(proxy) as again:
        assert ask(again, b"again") == b"AGAIN"


def test_half_open_connection_is_accepted_and_swallowed(proxy: Proxy, heard: list[bytes]) -> None:
    with connect(proxy) as before:
        assert ask(before, b"x") == b"X"
        proxy.go_silent()
        with connect(proxy) as after:
            for one in (before, after):
                one.sendall(b"anyone?")
                assert is_silent(one)
            wait_until(lambda: proxy.broken == 2, what="both have lost their bytes")
    assert heard == [b"x"]


def test_connection_that_has_lost_bytes_is_reset_when_the_rest_is_restored(proxy: Proxy) -> None:
    with connect(proxy) as hurt, connect(proxy) as unhurt:
        assert ask(hurt, b"a") == b"A"
        assert ask(unhurt, b"b") == b"B"
        proxy.go_silent()
        hurt.sendall(b"anyone?")
        wait_until(lambda: proxy.broken == 1, what="the bytes are lost")
        assert is_silent(hurt)
        proxy.restore()
        hurt.settimeout(60)
        with pytest.raises(ConnectionResetError):
            hurt.recv(1)
        assert ask(unhurt, b"c") == b"C"


def test_connection_that_has_lost_bytes_may_stay_silent(proxy: Proxy) -> None:
    with connect(proxy) as hurt:
        proxy.go_silent()
        hurt.sendall(b"anyone?")
        wait_until(lambda: proxy.broken == 1, what="the bytes are lost")
        assert is_silent(hurt)
        proxy.restore(reset=False)
        hurt.sendall(b"and now?")
        assert is_silent(hurt)


def test_one_way_drop_lets_requests_pass_and_loses_replies(
    proxy: Proxy, heard: list[bytes]
) -> None:
    with connect(proxy) as one:
        proxy.go_silent(Way.DOWN)
        one.sendall(b"done")
        wait_until(lambda: heard, what="the request has passed")
        assert is_silent(one)
    assert heard == [b"done"]


def test_latency_holds_each_piece_up(proxy: Proxy) -> None:
    with connect(proxy) as one:
        assert ask(one, b"a") == b"A"
        proxy.latency = 0.1
        began = time.monotonic()
        assert ask(one, b"b") == b"B"
        assert time.monotonic() - began >= 0.2


def test_connection_is_reset_after_so_many_bytes_once(proxy: Proxy) -> None:
    proxy.reset_after(4)
    with connect(proxy) as one:
        assert ask(one, b"four") == b"FOUR"
        with pytest.raises(ConnectionResetError):
            ask(one, b"!")
    with connect(proxy) as again:
        assert ask(again, b"seven77") == b"SEVEN77"


@pytest.fixture
def table(postgres_url: str) -> Iterator[tuple[Proxy, str, psycopg.Connection]]:
    """A proxy before PostgreSQL, the address through it, and a direct connection with a table."""
    address = make_url(postgres_url)
    host = address.query["host"]
    assert isinstance(host, str)
    direct = psycopg.connect(
        address.set(drivername="postgresql").render_as_string(), autocommit=True
    )
    direct.execute("CREATE TABLE counted (n int)")
    with direct, Proxy(Path(host) / ".s.PGSQL.5432") as proxy:
        through = f"host=127.0.0.1 port={proxy.port} user=flowq dbname={address.database}"
        yield proxy, through, direct


def count(direct: psycopg.Connection) -> int:
    row = direct.execute("SELECT count(*) FROM counted").fetchone()
    assert row is not None
    return int(row[0])


def test_commit_whose_reply_is_lost_has_happened(
    table: tuple[Proxy, str, psycopg.Connection],
) -> None:
    proxy, through, direct = table
    proxy.lose_commits()
    with closing(psycopg.connect(through, autocommit=True)) as client:
        client.execute("BEGIN")
        client.execute("INSERT INTO counted VALUES (%s)", [1])
        with pytest.raises(psycopg.OperationalError):
            client.execute("COMMIT")

    assert count(direct) == 1
    with closing(psycopg.connect(through, autocommit=True)) as again:
        again.execute("INSERT INTO counted VALUES (2)")
    assert count(direct) == 2
    assert proxy.lost_commits == 1


@pytest.mark.parametrize("before", [0, 8])
def test_single_statement_is_a_commit_also_when_it_was_prepared_before(
    table: tuple[Proxy, str, psycopg.Connection], before: int
) -> None:
    proxy, through, direct = table
    statement = "INSERT INTO counted VALUES (%s) RETURNING n"
    with closing(psycopg.connect(through, autocommit=True)) as client:
        for number in range(before):
            client.execute(statement, [number])
        client.execute("SELECT %s::int", [1])
        proxy.lose_commits()
        assert client.execute("SELECT %s::int", [1]).fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            client.execute(statement, [99])

    wait_until(lambda: count(direct) == before + 1, what="the statement is committed")
