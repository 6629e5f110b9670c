"""A body that comes too slowly is refused, and one that keeps coming is not."""

import socket
import time
from urllib.parse import urlsplit

import pytest

from flowq.entrypoints.http import bodies
from tests.tools.http_service import serving
from tests.tools.playing import Stage

HEAD = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize("path", ["/send_data", "/v2/send_data"])
def test_body_that_does_not_come_is_given_up(
    played: Stage, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(bodies, "_PATIENCE", 0.2)
    with serving() as address, socket.create_connection(_place(address), timeout=60) as client:
        client.sendall(HEAD.format(path=path).encode() + b"{")
        answer = b""
        while part := client.recv(2**16):  # until the server closes the connection
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b'"error":"RequestTimeout"' in answer


def test_body_may_take_longer_the_more_of_it_comes(
    played: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_PATIENCE", 0.2)
    monkeypatch.setattr(bodies, "_BYTES_PER_SECOND", 0.5)  # two seconds for each byte
    with serving() as address, socket.create_connection(_place(address), timeout=60) as client:
        client.sendall(HEAD.format(path="/send_data").encode() + b"x" * 60)
        time.sleep(0.5)  # a slow client: a body that does not come would be given up
        client.sendall(b"x" * 40)
        assert client.recv(2**16).startswith(b"HTTP/1.1 400 ")  # it is no document


def _place(address: str) -> tuple[str, int]:
    found = urlsplit(address)
    return str(found.hostname), int(found.port or 0)
