"""Feeds become typed items; what cannot be read is reported. From a server on this machine."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flowq.llm.news import gather
from flowq.llm.results import FailedFeed, NewsItem

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)

RSS = """<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>
<title>The Daily &amp; Co</title>
<item><title>Older</title><link>https://a.example/older</link>
 <pubDate>Tue, 03 Mar 2026 11:00:00 GMT</pubDate></item>
<item><title>New &lt;b&gt;things&lt;/b&gt;</title><link>https://a.example/new?utm_source=rss&amp;id=7</link>
 <description>&lt;p&gt;Some &amp;amp; more&lt;/p&gt;</description>
 <pubDate>Wed, 04 Mar 2026 13:00:00 +0200</pubDate>
 <dc:creator>Ada</dc:creator><category>science</category><category>sea</category>
 <guid>tag:a,7</guid></item>
<item><title>Undated</title><link>https://a.example/undated</link></item>
</channel></rss>"""

ATOM = """<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>Bee</title>
<entry><title>The same new thing</title><link href="http://www.A.example/new/?id=7&amp;fbclid=x"/>
 <id>urn:b:1</id><updated>2026-03-04T10:00:00Z</updated></entry>
<entry><title>Only here</title><id>urn:b:2</id><updated>2026-03-04T09:00:00Z</updated></entry>
<entry><title>Again</title><id>urn:b:2</id><updated>2026-03-04T08:00:00Z</updated></entry>
</feed>"""


class Feeds:
    """A server of feeds."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: dict[str, tuple[int, bytes]] = {}
        self.release = threading.Event()
        self.agents: list[str] = []

    def add(self, name: str, body: str | bytes, status: int = 200) -> str:
        data = body.encode() if isinstance(body, str) else body
        self.bodies[f"/{name}"] = (status, data)
        return f"{self.url}/{name}"


@pytest.fixture
def feeds() -> Iterator[Feeds]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.agents.append(self.headers["User-Agent"])
            if self.path == "/moved":
                self.send_response(301)
                self.send_header("Location", "/rss")
                self.end_headers()
                return
            if self.path == "/slow":
                served.release.wait(20)
            status, body = served.bodies.get(self.path, (404, b""))
            self.send_response(status)
            self.end_headers()
            with suppress(BrokenPipeError):  # nobody waits for the slow one
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Feeds(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield served
    served.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


def read(
    *urls: str,
    window: timedelta | None = None,
    limit: int | None = None,
    timeout: float = 10.0,
    headers: Mapping[str, str] | None = None,
) -> tuple[list[NewsItem], list[FailedFeed]]:
    return asyncio.run(
        gather(urls, window=window, limit=limit, timeout=timeout, headers=headers or {}, now=NOW)
    )


def test_items_are_typed(feeds: Feeds) -> None:
    url = feeds.add("rss", RSS)

    items, failed = read(url)

    assert [] == failed
    assert ["New things", "Older", "Undated"] == [item.title for item in items]
    assert (
        NewsItem(
            title="New things",
            link="https://a.example/new?utm_source=rss&id=7",
            summary="Some & more",
            published=datetime(2026, 3, 4, 11, tzinfo=UTC),
            authors=["Ada"],
            tags=["science", "sea"],
            source="The Daily & Co",
            feed=url,
            guid="tag:a,7",
        )
        == items[0]
    )
    assert items[2].published is None


def test_the_same_item_of_several_feeds_comes_once(feeds: Feeds) -> None:
    urls = [feeds.add("rss", RSS), feeds.add("atom", ATOM)]

    items, _ = read(*urls, *urls)

    assert ["New things", "Only here", "Older", "Undated"] == [item.title for item in items]
    assert 2 == len(feeds.agents)


def test_window_and_limit(feeds: Feeds) -> None:
    urls = [feeds.add("rss", RSS), feeds.add("atom", ATOM)]

    recent, _ = read(*urls, window=timedelta(hours=24))
    first, _ = read(*urls, limit=1)

    assert ["New things", "Only here", "Undated"] == [item.title for item in recent]
    assert ["New things"] == [item.title for item in first]


def test_feeds_that_fail_are_reported_and_the_others_read(feeds: Feeds) -> None:
    good = feeds.add("rss", RSS)
    gone = f"{feeds.url}/gone"
    broken = feeds.add("broken", "", status=500)
    page = feeds.add("page", "<html><body>Hello</body></html>")
    nothing = feeds.add("nothing", b"")
    slow = f"{feeds.url}/slow"
    nowhere = "http://127.0.0.1:9/rss"

    items, failed = read(gone, broken, good, page, nothing, slow, nowhere, "no address", timeout=1)

    assert 3 == len(items)
    errors = {one.url: one.error for one in failed}
    assert [gone, broken, page, nothing, slow, nowhere, "no address"] == list(errors)
    assert "404" in errors[gone]
    assert "500" in errors[broken]
    assert "no feed" in errors[page]
    assert "no feed" in errors[nothing]
    assert "timed out" == errors[slow]
    assert all(errors.values())


def test_a_feed_that_has_moved_is_followed(feeds: Feeds) -> None:
    feeds.add("rss", RSS)

    items, failed = read(f"{feeds.url}/moved")

    assert (3, []) == (len(items), failed)


def test_a_slightly_broken_feed_is_read(feeds: Feeds) -> None:
    url = feeds.add("rss", RSS.replace("</channel></rss>", "<item><title>Cut off"))

    items, failed = read(url)

    assert [] == failed
    assert "New things" in [item.title for item in items]


def test_servers_see_who_asks(feeds: Feeds) -> None:
    url = feeds.add("rss", RSS)

    read(url)
    read(url, headers={"User-Agent": "mine"})

    assert feeds.agents[0].startswith("flowq ")
    assert "mine" == feeds.agents[1]


def test_no_feeds_are_no_items() -> None:
    assert ([], []) == read()
