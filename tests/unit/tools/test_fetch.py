"""URLs that others give: what is fetched, what is refused, and what a server cannot do."""

import asyncio
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from flowq.core.addresses.hosts import host_rules
from flowq.core.errors import FetchFailed, FetchRefused
from flowq.tools.fetch import Fetched, fetch
from tests.tools import servers

Script = Callable[[socket.socket, str], None]


class Server:
    """Answers each path by a script, which has the bare connection; keeps what it was asked."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def answers(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        self.scripts[path] = lambda peer, _: peer.sendall(head + body)
        return self.url(path)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def close(self) -> None:
        self.over.set()
        # A socket that is closed while another thread accepts there leaves its number to the next
        # server, whose clients that thread would then take.
        socket.create_connection(("127.0.0.1", self.port), timeout=60).close()
        self._thread.join(60)
        self._socket.close()

    def _run(self) -> None:
        while True:
            peer, _ = self._socket.accept()
            if self.over.is_set():
                peer.close()
                return
            threading.Thread(target=self._serve, args=[peer], daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (part := peer.recv(65536)):
                    return  # the client has left
                head += part
            first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
            path = first.split(" ")[1]
            pairs = (line.split(": ", 1) for line in lines)
            self.asked.append((path, {name.lower(): value for name, value in pairs}))
            self.scripts[path](peer, path)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def get(
    url: str, rules: str = "127.0.0.1", *, headers: Mapping[str, str] | None = None, **options: Any
) -> Fetched:
    options = {"seconds": 60.0, **options}
    return asyncio.run(fetch(url, rules=host_rules(rules), headers=headers, **options))


def test_what_is_there_is_fetched(server: Server) -> None:
    url = server.answers("/a?b=c", b"hello", Content_Type="text/xml")

    headers = {"content-type": "text/xml", "content-length": "5"}
    assert Fetched(url, b"hello", "text/xml", headers=headers) == get(url)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.", "①②⑦.0.0.1", "0x7f.1"),
    ],
)
def test_this_machine_is_refused_however_it_is_written(server: Server, host: str) -> None:
    server.answers("/", b"secret")

    with pytest.raises((FetchRefused, FetchFailed)):
        get(server.url(host=host), rules="")

    assert [] == server.asked


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://a.example/", "gopher://a.example", "javascript:alert(1)"),
        *(
            "data:text/plain,x",
            "//127.0.0.1/",
            "/etc/passwd",
            "",
            "http://",
            "http:///x",
            "http://[",
        ),
        *("unix:///run/x.sock", "http://a:b@127.0.0.1/", "http://a@127.0.0.1/", "HTTP:x", "\x00"),
        *(
            f"http://127.0.0.1/{'x' * 10_000}",
            "http://127.0.0.1:99999/",
            "http://a b/",
            "http://\ud800/",
        ),
    ],
)
def test_what_is_no_url_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused):
        get(url)


def test_name_is_resolved_once_and_that_address_connected_to(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second answer of the DNS, which would name another address, is never asked for."""
    server.answers("/", b"hello")
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    resolved: list[Any] = []

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in {b"rebound.example", "rebound.example"}:
            return real(host, port, *args, **options)
        resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in next(answers)]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    found = get(server.url(host="rebound.example"), rules="127.0.0.1")

    assert b"hello" == found.body
    assert 1 == len(resolved)
    assert f"rebound.example:{server.port}" == server.asked[0][1]["host"]


def test_name_of_a_private_address_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers("/", b"secret")
    inner = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: inner)

    with pytest.raises(FetchRefused, match="not public"):
        get(server.url(host="public.example"), rules="")

    assert [] == server.asked


def test_redirects_are_followed(server: Server) -> None:
    server.answers("/old", b"", 301, Location="/newer")
    server.answers("/newer", b"", 308, Location=server.url("/new"))
    new = server.answers("/new", b"here")

    assert Fetched(new, b"here", "", headers={"content-length": "4"}) == get(server.url("/old"))


@pytest.mark.parametrize(
    "location",
    [
        *(
            "http://127.0.0.2:{port}/inner",
            "http://[::1]:{port}/inner",
            "http://2130706434:{port}/",
        ),
        *("http://169.254.169.254/latest", "file:///etc/passwd", "javascript:alert(1)", "http://["),
        *("http://ann:secret@127.0.0.1:{port}/inner", "//127.0.0.2:{port}/inner", "gopher://x/"),
    ],
)
def test_redirects_are_checked_like_the_first_url(server: Server, location: str) -> None:
    server.answers("/inner", b"secret")
    server.answers("/", b"", 302, Location=location.format(port=server.port))

    with pytest.raises(FetchRefused) as refused:
        get(server.url(), rules="127.0.0.1")

    assert ["/"] == server.paths()
    assert "secret" not in str(refused.value)


def test_redirects_have_an_end(server: Server) -> None:
    server.answers("/", b"", 302, Location="/")

    with pytest.raises(FetchRefused, match="redirects more than 5"):
        get(server.url())

    assert 6 == len(server.asked)


def test_headers_stay_with_the_origin_they_were_given_for(server: Server) -> None:
    """Also when the way leads back to it: the other one has chosen where."""
    other = Server()
    server.answers("/", b"", 302, Location="/same")
    server.answers("/same", b"", 302, Location=other.url("/away"))
    other.answers("/away", b"", 302, Location=server.url("/back"))
    server.answers("/back", b"end")
    mine = {
        "X-Api-Key": "k3y",
        "Authorization": "Bearer t0ken",
        "Cookie": "c=1",
        "User-Agent": "me",
    }

    assert b"end" == get(server.url(), headers=mine).body

    other.close()
    with_key = [path for path, headers in server.asked + other.asked if "x-api-key" in headers]
    assert ["/", "/same"] == with_key
    [(_, away)] = other.asked
    assert {"host", "user-agent", "accept", "accept-encoding"} == set(away)
    assert away["user-agent"].startswith("flowq ")
    assert "me" == server.asked[0][1]["user-agent"]


@pytest.mark.parametrize(
    "headers", [{"X-Key": "k3y\r\nX-Other: 1"}, {"X Key": "k3y"}, {"X-Key": "k3y€"}, {"": "k3y"}]
)
def test_header_that_is_none_is_refused_without_its_value(
    server: Server, headers: dict[str, str]
) -> None:
    with pytest.raises(FetchRefused) as refused:
        get(server.url(), headers=headers)

    assert "k3y" not in str(refused.value)
    assert [] == server.asked


def test_headers_of_the_connection_are_not_the_callers(server: Server) -> None:
    url = server.answers("/", b"x")

    get(url, headers={"Host": "inner.example", "Transfer-Encoding": "chunked", "X-Mine": "1"})

    [(_, headers)] = server.asked
    assert f"127.0.0.1:{server.port}" == headers["host"]
    assert "transfer-encoding" not in headers
    assert "1" == headers["x-mine"]


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate", "bare"])
def test_compressed_answers_are_read(server: Server, coding: str) -> None:
    text = b"some text " * 50_000
    packed = gzip.compress(text)
    if coding == "deflate":
        packed = zlib.compress(text)
    elif coding == "bare":
        packed, coding = zlib.compress(text)[2:-4], "deflate"
    url = server.answers("/", packed, Content_Encoding=coding)

    assert text == get(url).body


def test_bomb_is_stopped_at_the_limit(server: Server) -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    url = server.answers("/", bomb, Content_Encoding="gzip")

    with pytest.raises(FetchFailed, match="more than 1,000,000 bytes"):
        get(url, most_bytes=1_000_000)


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", "compress", "x" * 500])
def test_coding_that_was_not_asked_for_is_refused(server: Server, coding: str) -> None:
    url = server.answers("/", gzip.compress(gzip.compress(b"x")), Content_Encoding=coding)

    with pytest.raises(FetchFailed, match="did not request"):
        get(url)


def test_answer_that_is_not_what_it_says_has_failed(server: Server) -> None:
    broken = server.answers("/broken", b"no gzip at all", Content_Encoding="gzip")
    server.scripts["/rubbish"] = lambda peer, _: peer.sendall(b"\x00\xff\r\n\r\n")
    server.scripts["/cut"] = lambda peer, _: peer.sendall(
        b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nx"
    )
    missing = server.answers("/missing", b"", 404)
    nowhere = server.answers("/nowhere", b"", 302)

    for url in (broken, server.url("/rubbish"), server.url("/cut"), missing, nowhere):
        with pytest.raises(FetchFailed):
            get(url)


def endless(peer: socket.socket, _: str) -> None:
    with suppress(OSError):
        peer.sendall(b"HTTP/1.1 200 x\r\n\r\n")
        while True:
            peer.sendall(bytes(65536))


def dripping(start: bytes, drop: bytes) -> Script:
    def drip(peer: socket.socket, _: str) -> None:
        with suppress(OSError):
            peer.sendall(start)
            while True:
                peer.sendall(drop)
                time.sleep(0.05)

    return drip


def test_answer_without_an_end_is_stopped(server: Server) -> None:
    server.scripts["/"] = endless

    with pytest.raises(FetchFailed, match="more than"):
        get(server.url(), most_bytes=1_000_000)


@pytest.mark.parametrize(
    "script",
    [
        dripping(b"HTTP/1.1 200 x\r\n\r\n", b"x"),
        dripping(b"HTTP/1.1 200 x\r\n", b"X: y\r\n"),
        dripping(b"", b"HTTP/1.1 103 x\r\n\r\n"),
        dripping(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        dripping(b"", b"H"[:0]),
    ],
    ids=["body", "headers", "informational", "chunks", "silence"],
)
def test_slow_bytes_do_not_stretch_the_deadline(server: Server, script: Script) -> None:
    server.scripts["/"] = script
    began = time.monotonic()

    with pytest.raises(FetchFailed):
        get(server.url(), seconds=1.0)

    assert time.monotonic() - began < 60


def test_redirects_share_the_deadline(server: Server) -> None:
    def slowly(peer: socket.socket, path: str) -> None:
        time.sleep(0.5)
        peer.sendall(f"HTTP/1.1 302 x\r\nLocation: {path}\r\nContent-Length: 0\r\n\r\n".encode())

    server.scripts["/"] = slowly

    with pytest.raises(FetchFailed, match="timed out"):
        get(server.url(), seconds=1.0)


def test_proxies_of_the_environment_are_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert b"x" == get(server.answers("/", b"x")).body


def test_nobody_there_has_failed() -> None:
    with servers.closed_port() as port, pytest.raises(FetchFailed, match="cannot be reached"):
        get(f"http://127.0.0.1:{port}/")
