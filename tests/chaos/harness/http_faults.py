"""An HTTP proxy that answers for its server on request: errors, delays, missing objects."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_GONE = b"""<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>"""


class HttpFaults:
    """What is wrong with the server behind it.

    Attributes:
        failing: Every request is answered with 500.
        missing: Every object that is read is gone.
        slow: Seconds that each answer takes longer.
        hurt: How many requests have felt any of this.
    """

    def __init__(self, upstream: str) -> None:
        self.failing = False
        self.missing = False
        self.slow = 0.0
        self.hurt = 0
        faults, server = self, urlsplit(upstream)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                faults.hurt += bool(faults.failing or faults.missing or faults.slow)
                time.sleep(faults.slow)
                if faults.failing:
                    return self.answer(500, {}, b"")
                if faults.missing and self.command == "GET":
                    return self.answer(404, {"Content-Type": "application/xml"}, _GONE)
                connection = HTTPConnection(server.hostname or "", server.port, timeout=30)
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                reply = connection.getresponse()
                data = reply.read()
                connection.close()
                return self.answer(reply.status, dict(reply.getheaders()), data)

            def answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 - http's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["HttpFaults"]:
        """Listen."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(60)
