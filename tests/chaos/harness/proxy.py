"""A TCP proxy that breaks connections on demand, with the semantics of toxiproxy.

It stands between a worker and its broker, database or object store, in a thread of this process:

    with Proxy(upstream) as proxy:      # a Unix socket's path, or (host, port)
        proxy.cut()                     # connections are reset, new ones are refused
        proxy.go_silent()               # half open: everything is accepted, and swallowed
        proxy.go_silent(Way.DOWN)       # requests pass, replies do not
        proxy.latency = 0.2             # seconds that each piece of data takes longer, each way
        proxy.reset_after(1000)         # the next connection to send more bytes is reset
        proxy.lose_commits(times=3)     # PostgreSQL has committed; the client sees a reset
        proxy.restore()

A connection that has lost bytes never gets any again: it stays silent, as behind a firewall that
forgot it, until its client gives up or `restore` resets it.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.chaos.harness.postgres_wire import CommitWatch
from tests.tools.servers import free_port

_PIECE = 64 * 1024
#: With this, closing a socket resets the connection.
_NO_LINGER = struct.pack("ii", 1, 0)


class Way(StrEnum):
    """A direction."""

    UP = "up"  #: From the client to the server.
    DOWN = "down"


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    silent: set[Way] = field(default_factory=set)
    passed: int = 0
    commits: CommitWatch = field(default_factory=CommitWatch)

    def reset(self) -> None:
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            if raw.family != socket.AF_UNIX and not writer.is_closing():
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()


class Proxy:
    """A proxy before one server; use it as a context manager.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        latency: Seconds that each piece of data is held up.
        accepted: How many connections it has taken.
        broken: How many connections it has reset or starved.
    """

    def __init__(self, upstream: Path | tuple[str, int]) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._silent: set[Way] = set()
        self._resets: list[int] = []
        self._loses: Callable[[], bool] | None = None
        # Not one that the system gives away while this is cut.
        self.port = free_port()
        self.latency = 0.0
        self.accepted = 0
        self.broken = 0
        self.lost_commits = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.cut()
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self._run(self._close())

    def restore(self, *, reset: bool = True) -> None:
        """Let everything pass again.

        Args:
            reset: Reset the connections that have lost bytes; otherwise they stay silent.
        """
        self._silent, self._resets, self._loses, self.latency = set(), [], None, 0.0
        if self._server is None:
            self._run(self._listen())
        if reset:
            self._run(self._reset(lambda link: bool(link.silent)))

    def reset(self) -> None:
        """Reset every connection; new ones are welcome."""
        self._run(self._reset(lambda _: True))

    def go_silent(self, *ways: Way) -> None:
        """Swallow what goes these ways, both by default, on all connections, also new ones."""
        self._silent = set(ways or Way)

    def reset_after(self, count: int, *, times: int = 1) -> None:
        """Reset the next connections that have passed more than `count` bytes to the client."""
        self._resets = [count] * times

    def lose_commits(self, *, times: int = 1, chance: Callable[[], bool] = lambda: True) -> None:
        """Let PostgreSQL commit, and reset the connection instead of passing its answer.

        Args:
            times: How often.
            chance: Asked at each commit whether this is one to lose.
        """
        left = iter(range(times))
        self._loses = lambda: chance() and next(left, None) is not None

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset(lambda _: True)

    async def _reset(self, which: Callable[[_Link], bool]) -> None:
        for link in [link for link in self._links if which(link)]:
            self._break(link)

    async def _finish(self) -> None:
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=60)  # each ends with its connection

    def _break(self, link: _Link) -> None:
        self.broken += 1
        self._links.discard(link)
        link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            if isinstance(self._upstream, Path):
                up = await asyncio.open_unix_connection(str(self._upstream))
            else:
                up = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()  # the server is away, and so are we
            return
        link = _Link(writer, up[1])
        self._links.add(link)
        await asyncio.gather(
            self._pump(link, Way.UP, reader, link.server), self._pump(link, Way.DOWN, up[0], writer)
        )
        self._links.discard(link)
        link.reset()  # a silent connection whose sides have both gone

    async def _pump(
        self, link: _Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while piece := await reader.read(_PIECE):
                if self.latency:
                    await asyncio.sleep(self.latency)
                if way in self._silent and way not in link.silent:
                    link.silent.add(way)
                    self.broken += 1
                if way not in link.silent and self._passes(link, way, piece):
                    writer.write(piece)
                    await writer.drain()
        except OSError:
            self._links.discard(link)
            link.reset()  # whoever broke one side has broken both
        else:
            # A side that has ended tells the other; a silent connection hides even that.
            if not link.silent:
                writer.close()

    def _passes(self, link: _Link, way: Way, piece: bytes) -> bool:
        """Return whether a piece may pass; a connection that is to break breaks here."""
        if way is Way.UP:
            if link.commits.sent(piece) and self._loses is not None and self._loses():
                link.commits.doom()
            return True
        if link.commits.doomed:
            if link.commits.answered(piece):
                self.lost_commits += 1
                self._break(link)
            return False
        link.passed += len(piece)
        if self._resets and link.passed > self._resets[0]:
            self._resets.pop()
            self._break(link)
            return False
        return True
