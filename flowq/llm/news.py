"""Items of RSS and Atom feeds, read all at once; one that fails is reported, not fatal.

feedparser reads the feeds: it knows every dialect, repairs broken ones and cleans their HTML. It is
given the bytes, since its own HTTP knows no timeout.
"""

import asyncio
import calendar
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from flowq.core.errors import InvalidFlow
from flowq.llm.results import FailedFeed, NewsItem

_MOST_BYTES: Final = 20 * 1024 * 1024
_AT_ONCE: Final = 20
_AGENT: Final = "flowq (+https://pypi.org/project/flowq/)"
_TAG: Final = re.compile(r"<[^>]+>")
#: Parts of a query that only say where a reader came from.
_TRACKING: Final = re.compile(r"^(utm_\w+|fbclid|gclid|ref)=")


async def gather(
    feeds: Sequence[str],
    *,
    window: timedelta | None,
    limit: int | None,
    timeout: float,  # noqa: ASYNC109 - of each feed, not of the whole
    headers: Mapping[str, str],
    now: datetime | None = None,
) -> tuple[list[NewsItem], list[FailedFeed]]:
    """Read feeds and return their items, newest first, each once, and the feeds that failed.

    Args:
        feeds: Their addresses.
        window: How old an item may be; one without a date is taken to be new. None: any age.
        limit: How many items at most.
        timeout: Seconds for each feed.
        headers: More headers for their servers.
        now: The end of the window; the clock when left out.

    Raises:
        InvalidFlow: the libraries for it are not installed.
    """
    try:
        import feedparser  # noqa: F401, PLC0415 - see the package
        import httpx2  # noqa: PLC0415
    except ImportError as error:
        raise InvalidFlow(
            f"feeds cannot be read here: {error}", hint='pip install "flowq[llm]"'
        ) from error
    slots = asyncio.Semaphore(_AT_ONCE)
    asked = {"User-Agent": _AGENT, **headers}

    async def read(client: httpx2.AsyncClient, url: str) -> list[NewsItem] | FailedFeed:
        try:
            async with slots, asyncio.timeout(timeout):
                body = await _fetch(client, url)
            return await asyncio.to_thread(_parse, url, body)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is reported
            text = "timed out" if isinstance(error, TimeoutError) else str(error)
            return FailedFeed(url=url, error=text or type(error).__name__)

    async with httpx2.AsyncClient(follow_redirects=True, headers=asked, timeout=timeout) as client:
        read_feeds = await asyncio.gather(*(read(client, url) for url in dict.fromkeys(feeds)))
    failed = [one for one in read_feeds if isinstance(one, FailedFeed)]
    items = [item for one in read_feeds if isinstance(one, list) for item in one]
    return _chosen(items, window, limit, now), failed


async def _fetch(client: Any, url: str) -> bytes:
    parts = []
    size = 0
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > _MOST_BYTES:
                raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    return b"".join(parts)


def _parse(url: str, body: bytes) -> list[NewsItem]:
    import feedparser  # noqa: PLC0415 - see the package

    feed = feedparser.parse(body, response_headers={"content-location": url})
    # Many feeds are slightly broken and still readable; one of no known kind is none.
    if not feed.get("version"):
        why = feed.get("bozo_exception")
        raise ValueError(f"it is no feed: {why}" if why else "it is no feed")
    source = feed.feed.get("title") or url
    return [_item(entry, source, url) for entry in feed.entries]


def _item(entry: Any, source: str, url: str) -> NewsItem:
    moment = entry.get("published_parsed") or entry.get("updated_parsed")
    people = entry.get("authors") or []
    return NewsItem(
        title=_text(entry.get("title", "")),
        link=entry.get("link", ""),
        summary=_text(entry.get("summary", "")),
        published=datetime.fromtimestamp(calendar.timegm(moment), UTC) if moment else None,
        authors=[one["name"] for one in people if one.get("name")],
        tags=[one["term"] for one in entry.get("tags") or [] if one.get("term")],
        source=_text(source),
        feed=url,
        guid=entry.get("id", ""),
    )


def _chosen(
    items: list[NewsItem], window: timedelta | None, limit: int | None, now: datetime | None
) -> list[NewsItem]:
    if window is not None:
        end = now or datetime.now(UTC)  # noqa: TID251 - the world's news, by the world's clock
        items = [one for one in items if one.published is None or one.published >= end - window]
    # Those without a date come last: nothing says that they are new.
    oldest = datetime.min.replace(tzinfo=UTC)
    items.sort(key=lambda one: one.published or oldest, reverse=True)
    known: set[str] = set()
    unique = []
    for item in items:
        names = set(_names(item))
        if known.isdisjoint(names):
            unique.append(item)
        known |= names
    return unique[:limit]


def _names(item: NewsItem) -> list[str]:
    """Return what an item is known by: its link without tracking, or else its id, or its title."""
    if item.link:
        _, host, path, query, _ = urlsplit(item.link)
        kept = "&".join(one for one in query.split("&") if one and not _TRACKING.match(one))
        return [urlunsplit(("", host.lower().removeprefix("www."), path.rstrip("/"), kept, ""))]
    return [item.guid or item.title]


def _text(html: str) -> str:
    """Return HTML as one line of text."""
    return " ".join(unescape(_TAG.sub(" ", html)).split())
