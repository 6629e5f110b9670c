"""Reads several RSS and Atom feeds concurrently; a feed that fails is reported, not fatal.

`flowq.tools` fetches and parses feeds, since neither their servers nor their texts can be trusted.
This module merges their items: the new ones, each once.
"""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from flowq.core.errors import FlowqError, InvalidFlow
from flowq.llm.caller import current_settings
from flowq.llm.results import FailedFeed, NewsItem
from flowq.tools.markup import text_of, web_link, without_user

_AT_ONCE: Final = 20
#: Feeds that a step parses concurrently, each in a process.
_PARSED_AT_ONCE: Final = 4
#: Characters of an item's title, and of its summary.
_LINE: Final = 1_000
_SUMMARY: Final = 20_000
#: Query parameters for tracking: they do not change what a link leads to.
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
        window: Maximum age of an item; an item without a date counts as new. None: any age.
        limit: How many items at most.
        timeout: Seconds for each feed.
        headers: More headers for their servers.
        now: The end of the window; the current time by default.

    Raises:
        InvalidFlow: the libraries for it are not installed.
    """
    try:
        # Another process parses the feeds; a missing library is reported here once.
        import_module("feedparser")
        from flowq.tools.feeds import feed_items  # noqa: PLC0415 - see the package
        from flowq.tools.fetch import fetch  # noqa: PLC0415
    except ImportError as error:
        raise InvalidFlow(
            f"feeds cannot be read here: {error}", hint='pip install "flowq[llm]"'
        ) from error
    slots, parsers = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_PARSED_AT_ONCE)
    rules = current_settings().fetch_rules

    async def read(url: str) -> list[NewsItem] | FailedFeed:
        try:
            async with slots:
                began = time.monotonic()
                found = await fetch(url, rules=rules, headers=headers, seconds=timeout)
                left = timeout - (time.monotonic() - began)
            async with parsers:  # the wait for other feeds is not part of this feed's time
                parsed = await feed_items(found.body, found.url, left, found.content_type)
            return await asyncio.to_thread(lambda: [_item(one, url) for one in parsed])
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is reported
            kind = "" if isinstance(error, FlowqError) else f"{type(error).__name__}: "
            return FailedFeed(url=without_user(url), error=f"{kind}{error}")

    read_feeds = await asyncio.gather(*(read(url) for url in dict.fromkeys(feeds)))
    failed = [one for one in read_feeds if isinstance(one, FailedFeed)]
    items = [item for one in read_feeds if isinstance(one, list) for item in one]
    return _chosen(items, window, limit, now), failed


def _item(raw: Mapping[str, Any], url: str) -> NewsItem:
    authors, tags = (map(_text, raw[name]) for name in ("authors", "tags"))
    return NewsItem(
        title=_text(raw["title"]),
        link=web_link(raw["link"]),
        summary=_text(raw["summary"], _SUMMARY),
        published=raw["published"],
        authors=[one for one in authors if one],
        tags=[one for one in tags if one],
        source=_text(raw["source"]) or url,
        feed=url,
        guid=raw["guid"][:_LINE],
    )


def _chosen(
    items: list[NewsItem], window: timedelta | None, limit: int | None, now: datetime | None
) -> list[NewsItem]:
    if window is not None:
        end = now or datetime.now(UTC)  # noqa: TID251 - the world's news, by the world's clock
        items = [one for one in items if one.published is None or end - one.published <= window]
    # Items without a date come last: they may be old.
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
    """Return the identity of an item: its link without tracking, or else its id, or its title."""
    if item.link:
        _, host, path, query, _ = urlsplit(item.link)
        kept = "&".join(one for one in query.split("&") if one and not _TRACKING.match(one))
        return [urlunsplit(("", host.lower().removeprefix("www."), path.rstrip("/"), kept, ""))]
    return [item.guid or item.title]


def _text(html: str, most: int = _LINE) -> str:
    """Return HTML as one line of text."""
    return text_of(html, most)
