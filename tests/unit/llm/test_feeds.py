"""Feeds become typed items; what cannot be read is reported. From a server on this machine."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flowq import bootstrap
from flowq.llm.feeds import gather
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
        self.kinds: dict[str, str] = {}
        self.release = threading.Event()
        self.agents: list[str] = []

    def add(self, name: str, body: str | bytes, status: int = 200) -> str:
        data = body.encode() if isinstance(body, str) else body
        self.bodies[f"/{name}"] = (status, data)
        return f"{self.url}/{name}"


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feeds]:
    monkeypatch.setenv("FLOWQ_FETCH_HOSTS", "127.0.0.1")
    bootstrap.settings.cache_clear()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.agents.append(self.headers["User-Agent"])
            if self.path == "/moved":
                self.send_response(301)
                self.send_header("Location", "/rss")
                self.end_headers()
                return
            if self.path == "/slow":
                served.release.wait(300)
            status, body = served.bodies.get(self.path, (404, b""))
            self.send_response(status)
            if kind := served.kinds.get(self.path):
                self.send_header("Content-Type", kind)
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
    bootstrap.settings.cache_clear()


def read(
    *urls: str,
    window: timedelta | None = None,
    limit: int | None = None,
    timeout: float = 60.0,
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

    urls = (gone, broken, good, page, nothing, slow, nowhere, "no address")
    for timeout in (3.0, 60.0):  # a busy machine may need longer for those that answer
        items, failed = read(*urls, timeout=timeout)
        if items and sum("timed out" in one.error for one in failed) == 1:
            break

    assert 3 == len(items)
    errors = {one.url: one.error for one in failed}
    assert [gone, broken, page, nothing, slow, nowhere, "no address"] == list(errors)
    assert "404" in errors[gone]
    assert "500" in errors[broken]
    assert "not a feed" in errors[page]
    assert "not a feed" in errors[nothing]
    assert "timed out" in errors[slow]
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


def test_a_feed_that_names_a_file_of_the_worker_does_not_open_it(
    feeds: Feeds, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text(RSS)
    urls = [feeds.add(f"{n}", name) for n, name in enumerate((f"{secret}", f"file://{secret}"))]

    items, failed = read(*urls, f"file://{secret}")

    assert [] == items
    assert 3 == len(failed)
    assert all("not a feed" in one.error for one in failed[:2])


@pytest.mark.parametrize(
    "encoding, declared, kind",
    [
        ("utf-8", "", None),
        ("utf-8", "", "text/xml"),
        ("utf-8", "", "text/html; charset=bogus-\xff"),
        ("utf-8", "utf-8", "text/xml; charset=iso-8859-1"),
        ("utf-16", "", None),
        ("utf-16", "utf-16", "application/rss+xml"),
        ("utf-8-sig", "", "text/xml; charset=iso-8859-1"),
        ("utf-32", "", "text/xml; charset=utf-8"),
        ("windows-1251", "", 'application/rss+xml; charset="windows-1251"'),
        ("windows-1251", "windows-1251", "text/xml; charset=utf-8"),
    ],
)
def test_a_feed_is_read_in_its_encoding(
    feeds: Feeds, encoding: str, declared: str, kind: str | None
) -> None:
    mark = f' encoding="{declared}"' if declared else ""
    body = RSS.replace(' encoding="utf-8"', mark).replace("Older", "\u0416\u0443\u043a")
    url = feeds.add("encoded", body.encode(encoding))
    feeds.kinds["/encoded"] = kind or ""

    items, failed = read(url)

    assert [] == failed
    assert "\u0416\u0443\u043a" in [item.title for item in items]


HOSTILE = {
    "titles of <": RSS.replace("Older", "<![CDATA[" + "<" * 300_000 + "]]>"),
    "styles": RSS.replace("Older", f"<![CDATA[<p style='{'a' * 300_000}'>]]>"),
    "comments": RSS.replace("Older", "<![CDATA[" + "<!--" * 100_000 + "]]>"),
    "authors": RSS.replace("Ada", "a" * 300_000),
    "nested": RSS.replace("Older", "<a>" * 1_000_000),
    "laughs": "<!DOCTYPE x [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in pairwise("abcdefghijkl"))
    + "]>"
    + RSS.partition("?>")[2].replace("Older", "&l;"),
    "items": RSS.replace("<item>", "<item><title>x</title></item>" * 50_000 + "<item>", 1),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_feed_ends_in_time_and_holds_nobody_up(feeds: Feeds, body: str) -> None:
    """Its parser may take for ever: the others of the process go on, and the feed has failed."""
    url, good = feeds.add("hostile", body), feeds.add("good", ATOM)
    pauses = []

    async def look(within: float) -> tuple[list[NewsItem], list[FailedFeed]]:
        reading = asyncio.ensure_future(
            gather([url, good], window=None, limit=None, timeout=within, headers={}, now=NOW)
        )
        while not reading.done():
            began = time.monotonic()
            await asyncio.sleep(0.02)
            pauses.append(time.monotonic() - began)
        return await reading

    for timeout in (4.0, 60.0):  # a busy machine may need longer for the good one
        began = time.monotonic()
        items, failed = asyncio.run(look(timeout))
        assert time.monotonic() - began < timeout + 60
        if good not in {one.url for one in failed}:
            break

    assert max(pauses) < 15
    assert {url}.issuperset(one.url for one in failed)
    assert "Bee" in {item.source for item in items}
    assert all(len(item.title) <= 1_000 and len(item.summary) <= 20_000 for item in items)
    assert len(items) <= 5_100


def test_links_that_a_browser_would_run_are_left_out(feeds: Feeds) -> None:
    links = ["javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "vbscript:x"]
    links += ["java\nscript:alert(1)", "file:///etc/passwd", "http://[", "http:///x"]
    items = "".join(
        f"<item><title>{n}</title><link>{link}</link></item>" for n, link in enumerate(links)
    )
    url = feeds.add("links", f"<rss version='2.0'><channel><title>t</title>{items}</channel></rss>")

    found, failed = read(url)

    assert [] == failed
    assert len(links) == len(found)
    assert {"http:", ""} >= {item.link.partition("//")[0] for item in found}


def test_a_date_outside_all_calendars_is_none(feeds: Feeds) -> None:
    dates = ["Wed, 04 Mar 99999 13:00:00 GMT", "0000-00-00", "1" * 1000, "-1", "Mon " * 1000]
    items = "".join(
        f"<item><title>{n}</title><pubDate>{date}</pubDate></item>" for n, date in enumerate(dates)
    )
    url = feeds.add("dates", f"<rss version='2.0'><channel>{items}</channel></rss>")

    found, failed = read(url, window=timedelta(days=365 * 9_000))

    assert [] == failed
    assert len(dates) == len(found)


def test_scripts_and_comments_are_no_text(feeds: Feeds) -> None:
    html = "<p>One<!-- no --> two</p><script>alert('x')</script><style>p {}</style> &lt;3"
    url = feeds.add("html", RSS.replace("Older", f"<![CDATA[{html}]]>"))

    items, _ = read(url)

    assert "One two <3" in {item.title for item in items}


def test_what_is_no_character_fails_its_feed_at_most(feeds: Feeds) -> None:
    marks = "&#xD800; &#0; &#x1b; &#x202e; \ufffe \x85 &#1114112; &nbsp; &bogus; \x00"
    strict = feeds.add("strict", RSS.replace("Older", f"<![CDATA[{marks}]]>"))
    loose = feeds.add("loose", RSS.replace("Older", marks).replace("<guid>", f"<guid>{marks}"))

    items, failed = read(strict, loose)

    assert {loose}.issuperset(one.url for one in failed)  # the library does not read that one
    assert "New things" in {item.title for item in items}
    assert all(item.model_dump_json() for item in items)


def test_credentials_of_an_address_are_neither_used_nor_shown(feeds: Feeds) -> None:
    feeds.add("rss", RSS)
    url = f"{feeds.url}/rss".replace("http://", "http://ann:s3cret@")

    items, failed = read(url)

    assert [] == items
    assert "s3cret" not in repr(failed)


def test_no_feeds_are_no_items() -> None:
    assert ([], []) == read()
